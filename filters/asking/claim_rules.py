"""Takes an English caption apart into atomic claims by its small words and word forms: no tagger, no model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from filters.asking.questions import ADDRESSES_JUDGE, as_statement
from filters.wording import caption_words as words
from filters.wording.claimed_text import claimed_texts
from filters.wording.noun_phrases import word_set
from filters.wording.sentences import Sentence, sentences

Kind = Literal["object", "attribute", "count", "relation", "text", "other"]
KINDS: Final[tuple[Kind, ...]] = ("object", "attribute", "count", "relation", "text", "other")

_MAX_CHARS: Final = 1000
"""A longer sentence stays whole."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that a caption says. `statement` stands alone. `start`, `end`: the sentence it comes from, in characters.

    `parents`: the claims, by place in their list and all before this one, without which it means nothing: of "There is a
    red car." the claim "There is a car."
    """

    kind: Kind
    statement: str
    start: int
    end: int
    parents: tuple[int, ...] = ()


@lru_cache(maxsize=1024)
def claims_by_rules(text: str) -> tuple[Claim, ...]:
    """The claims of a caption in order, parents before their children; at least one of each sentence.

    An object is a noun phrase without its adjectives, an attribute an adjective of it or what it does, a count its number,
    a relation what a verb or preposition says of two phrases, a text what is written. Pronouns become the nearest noun that
    they can stand for. What cannot be taken apart stays one claim of kind `other`, the sentence as it is; so does a sentence
    of which only a part was understood, beside that part's claims, one with a negation, one in another language, and one
    that speaks to a judge.
    """
    reader = _Reader()
    for one in sentences(text):
        reader.read(one)
    return tuple(reader.claims)


_MULTI: Final = (
    "in front of", "on top of", "next to", "close to", "to the left of", "to the right of", "on the back of",
    "in the middle of", "in the center of", "on the side of", "at the edge of", "on the edge of", "in between", "out of",
    "inside of", "outside of", "along with", "as well as", "in the shape of", "on either side of", "on both sides of",
    "surrounded by", "each other", "one another", "side by side", "up close", "in addition to", "such as", "at the end of",
    "in the style of", "at the top of", "at the bottom of", "on the front of", "behind the wheel of", "a few", "due to",
 )  # fmt: skip
_TOKEN: Final = re.compile(
    r"(?P<quote>[\"“„«][^\"“”„«»\n]{1,200}[\"”“»])|(?P<multi>(?i:\b(?:"
    + "|".join(re.escape(one) for one in sorted(_MULTI, key=len, reverse=True) if one != "a few")
    + r"))\b)|(?P<own>['’]s\b)|(?P<word>(?i:walk in(?= (?:closet|shower)))|[^\W_]+(?:['’\-.,](?=\w)[^\W_]+)*)|(?P<mark>[^\s\w]|_)"
)
_PREPOSITIONS: Final = words.PREPOSITIONS | {
    one for one in _MULTI if one.split()[0] in words.PREPOSITIONS | {"next", "close"} and "other" not in one
} - {"in addition to", "as well as", "along with", "side by side", "up close"}
_LOCATIVES: Final = words.LOCATIVES | (_PREPOSITIONS & set(_MULTI)) - {"due to", "in the shape of", "in the style of"}
_TOGETHER: Final = frozenset({",", "and", "or", "&", "as well as", "along with", "/"})
_BREAKS: Final = frozenset({";", ":", "-", "–", "—", "(", ")", "...", "…"})
_SEEN: Final = word_set(
    "visible shown seen present pictured depicted displayed printed can be is are was were in background foreground",
    "the also there",
)
_NO_CLAIM: Final = word_set(
    "other same different similar certain specific particular own main various individual separate next last final",
    "middle single special half first second third lone nearby visible",
)
_COMPOUND_ED: Final = word_set(
    "covered lined filled topped shaped colored coloured sized themed styled patterned striped engulfed loaded",
    "infested",
)
_STOP: Final = (
    words.AUXILIARIES | words.CONJUNCTIONS | words.RELATIVES | words.SUBORDINATORS | words.PRONOUNS | words.SPEAKERS
    | words.OTHERS | words.ARTICLES | words.POSSESSIVES | words.NEGATIONS | (_PREPOSITIONS - {"front"}) | {"the", "each other"}
)  # fmt: skip
_ENGLISH: Final = word_set(
    "the a an is are of with and on in at to this there that his her its two three four by from while has it",
)
_FOREIGN: Final = word_set(
    "der die das und ein eine einen ist mit auf den dem im le la les un une des et est dans sur du el los las una y",
    "con il lo gli che di del da per een het van op met och att som på en jest na z w do os um uma com no se ve bir",
)


_QUOTED: Final = re.compile(r"[\"“„«][^\"“”„«»\n]{1,200}[\"”“»]")


@dataclass(slots=True)
class _Token:
    text: str
    low: str
    kind: str
    start: int
    end: int


@dataclass(slots=True)
class _Phrase:
    """A noun phrase: `determiner` as written in lower case, adjectives, and the head with its compound nouns."""

    determiner: str
    adjectives: list[str]
    head: str
    last: str
    text: str
    stop: int
    quote: str | None = None
    of: _Phrase | None = None
    parents: tuple[int, ...] = ()

    @property
    def counted(self) -> bool:
        return self.determiner in words.NUMBERS or self.determiner in words.QUANTIFIERS or _is_quantity(self.determiner)

    @property
    def plural(self) -> bool:
        if self.counted and self.determiner not in ("one", "1"):
            return self.last not in words.MASS
        return words.is_plural(self.last) and self.determiner not in words.SINGLES

    @property
    def proper(self) -> bool:
        return all(word[:1].isupper() and not word.isupper() for word in self.head.split())

    @property
    def animate(self) -> bool:
        return _is_someone(self.of.last if self.of is not None and self.last in words.GROUPS else self.last)

    @property
    def person(self) -> bool:
        return self.animate and self.last.removesuffix("s") not in words.ANIMALS

    @property
    def image(self) -> bool:
        return self.last in words.IMAGES

    @property
    def place(self) -> bool:
        return self.last in words.PLACES

    def bare(self, *adjectives: str) -> str:
        """Without determiner, with these of its adjectives."""
        inner = f" of {self.of.inner()}" if self.of is not None else ""
        return " ".join((*adjectives, self.head)) + inner

    def inner(self) -> str:
        """Inside a bare phrase: its determiner and noun."""
        return f"{self.determiner} {self.bare()}".strip()


class _Reader:
    """Reads one caption; keeps what was mentioned, for pronouns and for what is mentioned again."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.mentions: list[_Phrase] = []
        self.subjects: list[_Phrase] = []  # of the sentences before

    def read(self, sentence: Sentence) -> None:
        before = len(self.claims)
        clause = _Clause(self, sentence)
        understood = _is_plain(sentence.text) and clause.read()
        if not understood or len(self.claims) == before:
            self.add("other", as_statement(sentence.text), sentence)
        self.subjects += clause.subjects[:1]

    def add(self, kind: Kind, statement: str, sentence: Sentence, parents: Iterable[int] = ()) -> int:
        claim = Claim(kind, statement, sentence.start, sentence.end, tuple(dict.fromkeys(parents)))
        for place, other in enumerate(self.claims):
            if (other.kind, other.statement, other.start) == (claim.kind, claim.statement, claim.start):
                return place
        self.claims.append(claim)
        return len(self.claims) - 1

    def meant(self, pronoun: str, first: Sequence[_Phrase]) -> _Phrase | None:
        """What a pronoun stands for: one of `first`, the last sentence's subject, or the nearest that it can stand for."""
        for phrase in (*first, *self.subjects[-1:], *reversed(self.mentions)):
            if _can_mean(pronoun, phrase):
                return phrase
        return None


def _is_plain(text: str) -> bool:
    """Whether rules for English may be applied to a sentence."""
    if len(text) > _MAX_CHARS or ADDRESSES_JUDGE.search(text):
        return False
    found = [token.lower() for token in re.findall(r"[^\W\d_]+(?:['’]t)?", _QUOTED.sub(" ", text))]
    if any(token in words.NEGATIONS for token in found) or any(token.endswith(("n't", "n’t")) for token in found):
        return False
    foreign = sum(token in _FOREIGN for token in found)
    seen = re.search(r"(?i)\b(?:we|you|i)\s+(?:can\s+)?see\b", text)
    if not seen and words.SPEAKERS.intersection(found):
        return False
    english = sum(token in _ENGLISH for token in found)
    letters = [mark for mark in text if mark.isalpha()]
    strange = sum(ord(mark) > 127 for mark in letters)
    return foreign <= english and strange * 8 <= len(letters) and (english > 0 or len(found) <= 8)


def _can_mean(pronoun: str, phrase: _Phrase) -> bool:
    last, group = phrase.last, phrase.last in words.GROUPS
    one = last.removesuffix("s")
    if phrase.place or phrase.image or last in words.ABSTRACT:
        return False
    if pronoun in ("they", "them", "their"):
        return phrase.plural or group
    if phrase.plural:
        return False
    if pronoun in ("he", "him", "his"):
        return one in words.MEN or (phrase.person and not group and one not in words.WOMEN)
    if pronoun in ("she", "her"):
        return one in words.WOMEN or (phrase.person and not group and one not in words.MEN)
    return not phrase.person or group


class _Clause:
    """Reads the clauses of one sentence from left to right."""

    def __init__(self, reader: _Reader, sentence: Sentence) -> None:
        self.reader = reader
        self.sentence = sentence
        self.tokens = [
            _Token(match.group(), re.sub(r"\s+", " ", match.group().lower()), match.lastgroup or "", *match.span())
            for match in _TOKEN.finditer(sentence.text)
        ]
        self.subjects: list[_Phrase] = []
        self.subject: _Phrase | None = None  # of the clause being read
        self.subject_text = ""
        self.last: _Phrase | None = None  # the phrase before
        self.role: Literal["none", "subject", "attached", "object"] = "none"
        self.beside = (
            False  # whether the phrase before came with "with", after a verb: "A man eats with a dog beside him"
        )
        self.doer: _Phrase | None = None  # of the verb before
        self.articled = False  # whether a list began with "a"
        self.stem = ""  # the clause so far, of "A man rides a horse on a beach" what "on a beach" is added to
        self.repeat: tuple[str, tuple[int, ...]] | None = None  # what the next of a list is added to
        self.fronted: tuple[str, _Phrase] | None = None  # "In the background"
        self.place: tuple[str, _Phrase] | None = None  # the same, once the clause has a subject
        self.of_image = False  # "The image shows" was read
        self.whole = True  # whether all was understood

    # --- phrases ---

    def read(self) -> bool:
        """Add the sentence's claims; False where a part was not understood."""
        links: list[list[_Token]] = [[]]
        phrases: list[_Phrase] = []
        at = 0
        while at < len(self.tokens):
            near = all(words.is_adverb(token.low) for token in links[-1])
            found = self._phrase(at, phrases[-1] if phrases and near else None)
            if found is None:
                if not (self.tokens[at].low in ".!?" and at >= len(self.tokens) - 2):
                    links[-1].append(self.tokens[at])
                at += 1
                continue
            phrases.append(found)
            links.append([])
            at = found.stop
        for place, phrase in enumerate(phrases):
            self._join(links[place], phrase, links[place + 1])
        self._tail(links[-1])
        if self.fronted is not None:
            self.whole = False
        self._bound(phrases)
        self._texts(phrases)
        return self.whole and bool(phrases)

    def _phrase(self, at: int, before: _Phrase | None) -> _Phrase | None:
        """The noun phrase that begins at a token, if one does; `before`: the phrase that ended right there."""
        tokens, start = self.tokens, at
        determiner, at = self._determiner(at)
        found: list[tuple[str, str, bool]] = []  # text, lower case, whether an adjective
        quote: str | None = None
        adverb = ""
        while at < len(tokens):
            token = tokens[at]
            noun = any(not adjective for _, _, adjective in found)
            if token.kind == "quote":
                quote = token.text[1:-1].strip().rstrip(",.")
                found.append((token.text, token.low, False if noun else not self._content(at + 1)))
                at += 1
                if noun:
                    break
                continue
            if token.kind == "own" and found:
                found[-1] = (found[-1][0] + "'s", found[-1][1] + "'s", False)
                at += 1
                continue
            if token.low in (",", "and", "&") and found and not noun and self._adjective_noun(at + 1):
                joined = "" if token.low == "," else token.text + " "
                if joined:
                    found[-1] = (f"{found[-1][0]} {joined}{tokens[at + 1].text}", found[-1][1], True)
                    at += 2
                else:
                    at += 1
                continue
            if token.kind != "word" or (token.low in _STOP and not (token.low in words.PLACES and determiner)):
                break
            if words.is_adverb(token.low) and token.low not in words.PLACES:
                if noun or not self._modifies(at + 1):
                    break
                adverb += token.text + " "
                at += 1
                continue
            if token.low not in words.PLACES and self._is_verb(at, determiner, found, noun, before):
                break
            is_adjective = (words.is_adjective(token.low) or token.low.endswith(("'s", "’s"))) or (
                not noun
                and (words.is_ing(token.low) or words.is_ed(token.low))
                and token.low not in words.SPORTS
                and self._content(at + 1)
            )
            if noun and token.low in _COMPOUND_ED:
                found = [(" ".join([*(one for one, _, _ in found), token.text]), token.low, True)]
            else:
                found.append((adverb + token.text, token.low, is_adjective and not noun))
            adverb = ""
            at += 1
        if not found or (not determiner and quote is None and all(adjective for _, _, adjective in found)):
            return None
        split = next((place for place, one in enumerate(found) if not one[2]), len(found) - 1)
        split = min(split, len(found) - 1)
        head = " ".join(text for text, _, _ in found[split:])
        if start == 0 and not determiner and split == 0 and not _is_proper(head):
            head = head[:1].lower() + head[1:]
        adjectives = [text if place or start else _lowered(text) for place, (text, _, _) in enumerate(found[:split])]
        phrase = _Phrase(determiner, adjectives, head, found[-1][1], "", at, quote)
        if quote is not None and found[-1][0].startswith(tuple('"“„«')):
            phrase.last = found[-2][1] if len(found) > 1 else "text"
        if at < len(tokens) and tokens[at].low == "of":
            inner = self._phrase(at + 1, None)
            if inner is not None:
                phrase.of, phrase.stop = inner, inner.stop
        phrase.text = self._text(start, phrase.stop)
        return phrase

    def _determiner(self, at: int) -> tuple[str, int]:
        tokens = self.tokens
        lows = [token.low for token in tokens[at : at + 5]]
        if not lows:
            return "", at
        for some in words.QUANTITIES:
            if tuple(lows[: len(some)]) == some:
                follows = at + len(some)
                return " ".join(some), follows + (
                    tokens[follows].low in ("the", "other") if follows < len(tokens) else 0
                )
        first = lows[0]
        following = lows[1] if len(lows) > 1 else ""
        if first == "that" and (words.is_finite(following) or following in words.VERB_BASES):
            return "", at
        if first == "the" or first in words.ARTICLES:
            if following in words.NUMBERS or following in words.QUANTIFIERS or _is_digits(following):
                return following, at + 2
            return first, at + 1 + (following == "other")
        if first in words.POSSESSIVES:
            return first, at + 1
        if first in words.NUMBERS or first in words.QUANTIFIERS or _is_digits(first):
            skip = 1 + (following in ("the", "other", "more"))
            return first, at + skip
        return "", at

    def _content(self, at: int) -> bool:
        """Whether a word of a noun phrase may stand here."""
        if at >= len(self.tokens):
            return False
        token = self.tokens[at]
        if token.kind == "quote":
            return True
        return token.kind == "word" and token.low not in _STOP and not words.is_adverb(token.low)

    def _modifies(self, at: int) -> bool:
        """Whether an adjective or participle stands here, before a noun."""
        if not self._content(at) or self.tokens[at].kind == "quote":
            return False
        low = self.tokens[at].low
        return (words.is_adjective(low) or words.is_ed(low) or words.is_ing(low)) and self._content(at + 1)

    def _adjective_noun(self, at: int) -> bool:
        if at >= len(self.tokens) or not self._content(at + 1):
            return False
        low = self.tokens[at].low
        return words.is_adjective(low) or words.is_ed(low)

    def _is_verb(
        self, at: int, determiner: str, found: list[tuple[str, str, bool]], noun: bool, before: _Phrase | None
    ) -> bool:
        """Whether the word here is the verb after, or in place of, a noun phrase."""
        low = self.tokens[at].low
        previous = self.tokens[at - 1].low if at else ""
        looks = words.is_ing(low) or words.is_ed(low)
        following = self.tokens[at + 1].low if at + 1 < len(self.tokens) else "."
        if low in words.SPORTS:
            ends = _is_preposition(following) or words.is_adverb(following) or following in ("a", "an", "the")
            acts = ends and following != "of"
            return acts and (noun or (not found and (before is not None or previous in words.AUXILIARIES)))
        if not found:
            if determiner:
                return words.is_ing(low) and not self._content(at + 1) and determiner not in ("a", "an", "the")
            if (previous == "," or words.is_adverb(previous)) and low in words.CLEAR_THIRD_PERSONS:
                return True
            if previous in words.SUBJECT_PRONOUNS and (low in words.THIRD_PERSONS or low in words.VERB_BASES):
                return True
            if words.is_ing(low):
                return not (at == 0 and self._content(at + 1) and not words.is_plural(self.tokens[at + 1].low))
            if looks and not words.is_adjective(low):
                return not ((at == 0 or previous in _PREPOSITIONS | _TOGETHER) and self._content(at + 1))
            if low in words.THIRD_PERSONS and (before is not None or previous in words.RELATIVES | words.CONJUNCTIONS):
                return low in words.CLEAR_THIRD_PERSONS or before is not None
            infinitive = previous == "to" or previous in words.AUXILIARIES or previous in ("they", "we", "you", "i")
            relative = previous in words.RELATIVES
            return low in words.VERB_BASES and (infinitive or relative or (before is not None and before.plural))
        if looks and not noun:
            return not self._content(at + 1) and not determiner
        if looks:
            return not (low in _COMPOUND_ED and self._content(at + 1))
        if not noun and not (low in words.THIRD_PERSONS and found and not self._content(at + 1)):
            return False
        if low in words.CLEAR_THIRD_PERSONS and noun:
            return True
        acts = following in words.ARTICLES | words.POSSESSIVES | {"it", "them", "him"}
        if noun and acts and (low in words.THIRD_PERSONS or low in words.VERB_BASES):
            return True
        opens = (
            following in _STOP
            or following in words.NUMBERS
            or words.is_adverb(following)
            or words.is_ing(following)
            or _is_digits(following)
        )
        single = determiner in words.SINGLES
        if noun and single and words.is_plural(low) and low not in words.PLURALS and opens:
            return following not in words.CONJUNCTIONS and following != "of"
        several = noun and words.is_plural(found[-1][1])
        return several and low in words.VERB_BASES and (opens or _is_someone(found[-1][1]))

    # --- clauses ---

    def _join(self, link: list[_Token], phrase: _Phrase, after: list[_Token]) -> None:
        """Take in a phrase and the words between it and the phrase before."""
        comma = any(token.low == "," for token in link[:1])
        link = _trimmed(link)
        for place in range(len(link) - 1, -1, -1):
            low = link[place].low
            starts = low in words.SUBORDINATORS or low in _BREAKS
            if starts and not (low == "as" and place + 1 < len(link) and link[place + 1].low in ("if", "though")):
                self._tail(link[:place])
                link = _trimmed(link[place + 1 :])
                if not link or link[0].low == "there":
                    self._subject(phrase)
                    return
                comma = True
                break
        again = bool(link) and link[0].low in words.CONJUNCTIONS
        both = [token.low for token in link] if all(token.low in _TOGETHER for token in link) else []
        if link and link[0].low in _TOGETHER and len(link) > 1:
            link, comma = _trimmed(link[1:]), True
        joined = len(link) > 1 and link[-1].low in words.CONJUNCTIONS and not _is_preposition(link[-2].low)
        if joined and (self.role == "none" or _starts_clause(after, phrase)):
            self._tail(link[:-1])
            self._subject(phrase)
            return
        lows = [token.low for token in link]
        if "or" in both or (words.HEDGES.intersection(lows) and all(map(words.is_adverb, lows))):
            self.whole = False  # neither is said to be there
            return
        if link and (lows[0] in words.SUBJECT_PRONOUNS) and not (lows[0] == "it" and self._says_there_is(lows, "it")):
            self._pronoun(lows[0])
            link, lows = link[1:], lows[1:]
            if self.subject is None:
                self._loose(phrase)
                return
        if self.role == "none":
            self._first(lows, link, phrase)
        elif self.of_image and self.subject is None:
            self._of_image(lows, phrase)
        elif all(low in _TOGETHER for low in lows):
            self._another(phrase, after)
        elif lows[0] in ("there", "here") or (self.subject is None and self.fronted is not None):
            self._subject(phrase)
        elif phrase.image and all(_is_preposition(low) for low in lows):
            pass
        elif all(_is_preposition(low) or words.is_adverb(low) for low in lows) and any(map(_is_preposition, lows)):
            self._attached(link, phrase, comma, after)
        else:
            self._verb(link, phrase, comma, again)

    def _says_there_is(self, lows: list[str], pronoun: str) -> bool:
        """Whether the words are "it is" and nothing that it could stand for was mentioned."""
        return all(low in words.BE for low in lows[1:]) and self.reader.meant(pronoun, []) is None

    def _first(self, lows: list[str], link: list[_Token], phrase: _Phrase) -> None:
        if phrase.image and not phrase.quote:
            if phrase.of is not None and all(map(words.is_adverb, lows)):
                self._scene(phrase)
                phrase = phrase.of
            elif all(_is_preposition(low) or words.is_adverb(low) or low in ("this", "is") for low in lows):
                self._scene(phrase)
                self.of_image, self.role = True, "subject"
                return
        if not lows or lows[0] in ("there", "here") or _presents(lows):
            self._subject(phrase)
        elif all(_is_preposition(low) or words.is_adverb(low) for low in lows):
            self._things(phrase)
            self.fronted, self.last, self.role = (_lowered(self._words(link)), phrase), phrase, "attached"
        else:
            self._loose(phrase)

    def _of_image(self, lows: list[str], phrase: _Phrase) -> None:
        """The phrase after "The image shows", or after "In this image,"."""
        understood = all(
            _is_preposition(low)
            or words.is_adverb(low)
            or words.is_finite(low)
            or words.is_ing(low)
            or words.is_ed(low)
            or low in _TOGETHER | {"we", "you", "can", "see", "that", "there"} | words.AUXILIARIES
            for low in lows
        )
        self.whole = self.whole and understood
        self._subject(phrase)

    def _scene(self, phrase: _Phrase) -> None:
        for adjective in phrase.adjectives:
            if _tells(adjective) and adjective.lower() != "close-up":
                self._add("attribute", f"The {phrase.head} is {adjective}")

    def _subject(self, phrase: _Phrase) -> None:
        """Begin a clause with a phrase."""
        if phrase.image and phrase.of is not None:
            self._scene(phrase)
            phrase = phrase.of
        self._things(phrase)
        self.subject, self.last, self.role = phrase, phrase, "subject"
        self.subject_text = self._said(phrase)
        self.stem, self.repeat, self.doer, self.beside = "", None, None, False
        self.subjects.append(phrase)
        self.place, self.fronted = self.fronted, None
        self._placed(phrase)

    def _placed(self, phrase: _Phrase) -> None:
        """Claim that a subject is where the clause began."""
        if self.place is not None and not self.place[1].image:
            where, place = self.place
            statement = f"{self._said(phrase)} {_be(phrase)} {where} {self._said(place)}"
            self._add("relation", statement, (*phrase.parents, *place.parents))

    def _pronoun(self, pronoun: str) -> None:
        meant = self.reader.meant(pronoun, [one for one in self.subjects[-1:] if self.role != "none"])
        self.subject = meant
        self.stem, self.repeat, self.fronted = "", None, None
        if meant is None:
            self.whole = False
            return
        self.subject_text, self.last, self.role = f"the {meant.bare()}", meant, "subject"
        self.subjects.append(meant)

    def _loose(self, phrase: _Phrase) -> None:
        """A phrase whose part in the sentence was not understood."""
        self.whole = False
        self._things(phrase)
        self.last, self.role, self.stem, self.repeat = phrase, "object", "", None

    def _another(self, phrase: _Phrase, after: list[_Token]) -> None:
        """A phrase after "and" or a comma: one more subject, one more of a list, or the subject of a new clause."""
        if self.subject is None or self.last is None or self.fronted is not None:
            self._subject(phrase)
        elif self.role == "subject":
            parents = self._things(phrase)
            self._placed(phrase)
            joined = _Phrase("two", [], phrase.head, phrase.last, phrase.text, phrase.stop, of=phrase.of)
            joined.parents = (*self.subject.parents, *parents)
            self.subject_text = f"{self.subject_text} and {self._said(phrase)}"
            self.subject, self.last = joined, phrase
        elif (
            _starts_clause(after, phrase)
            or self.repeat is None
            or (phrase.animate and self.subject.animate and not self.last.animate)
        ):
            self._subject(phrase)
        else:
            start, parents = self.repeat
            lacks = not phrase.determiner and self.articled and not phrase.plural and phrase.last not in words.MASS
            said = f"{_a(phrase.text)} {phrase.text}" if lacks and not phrase.proper else self._said(phrase)
            self._add("relation", f"{start} {said}", (*parents, *self._things(phrase)))
            self.last = phrase

    def _attached(self, link: list[_Token], phrase: _Phrase, comma: bool, after: list[_Token]) -> None:
        """A phrase after a preposition: of the clause where it has a verb, else of the phrase before."""
        where = self._words(link)
        things = self._things(phrase)
        self.articled = phrase.determiner in ("a", "an")
        anchor = self.subject if comma and self.subject is not None and not self.stem else self.last
        assert anchor is not None
        if link[-1].low == "between" and not phrase.plural:
            self.whole = False
            self.last, self.role, self.repeat = phrase, "attached", None
            return
        beside, self.beside = self.beside, where == "with" and bool(self.stem)
        if self.stem and self.subject is not None and not (beside and link[-1].low in _LOCATIVES):
            start, parents = f"{self.stem} {where}", self.subject.parents
            if not (self.beside and after and after[0].low in _LOCATIVES):  # "with a boat in the background"
                self._add("relation", f"{start} {self._said(phrase)}", (*parents, *things))
            self.repeat = (start, parents)
            self.last, self.role = phrase, "object"
            return
        said = self.subject_text if anchor is self.subject else self._said(anchor)
        if where == "with":
            start = f"{said} {'have' if anchor.plural else 'has'}"
        elif link[-1].low in _LOCATIVES or link[0].low in _LOCATIVES:
            start = f"{said} {_be(anchor)} {where}"
        else:
            start = f"There {_be(anchor)} {said} {where}"
        self._add("relation", f"{start} {self._said(phrase)}", (*anchor.parents, *things))
        self.repeat = (start, anchor.parents)
        self.last, self.role = phrase, "attached"

    def _verb(self, link: list[_Token], phrase: _Phrase, comma: bool, again: bool) -> None:
        """A phrase after a verb; `again`: one more verb of the same doer."""
        made = self._predicate(link, comma, followed=True, again=again)
        self.articled = phrase.determiner in ("a", "an")
        if made is None:
            self._loose(phrase)
            return
        start, doer = made
        low = [token.low for token in link if not words.is_adverb(token.low) and token.low not in words.RELATIVES]
        is_one = bool(low) and all(one in words.BE for one in low)
        things = () if is_one else self._things(phrase)
        if phrase.image and not is_one and _is_preposition(link[-1].low):
            self._tail([token for token in link if not _is_preposition(token.low)])
            return
        kind: Kind = "attribute" if is_one else "relation"
        self._add(kind, f"{start} {self._said(phrase)}", (*doer.parents, *things))
        if self.subject is None or doer is self.subject:
            self.stem = f"{start} {self._said(phrase)}"
            self.repeat = (start, doer.parents)
        else:
            self.repeat = (start, doer.parents)
        self.last, self.role, self.doer, self.beside = phrase, "object", doer, False

    def _predicate(
        self, link: list[_Token], comma: bool, followed: bool, again: bool = False
    ) -> tuple[str, _Phrase] | None:
        """(subject and verb, the phrase that does it), of words that hold a verb; None where they are not understood."""
        if link and link[0].low in _TOGETHER:
            link, comma = _trimmed(link[1:]), True
        relative = bool(link) and link[0].low in words.RELATIVES
        if relative:
            link = link[1:]
        main = [token for token in link if not words.is_adverb(token.low)]
        if not main or self.last is None or self.subject is None:
            return None
        verb = main[0].low
        ing, past = words.is_ing(verb), words.is_participle(verb)
        if not (ing or past or words.is_finite(verb) or verb in words.VERB_BASES or words.is_ed(verb)):
            return None
        if any(token.low in ("that", "how", "what", "why", "whether") for token in main[1:]):
            return None
        rest = [token.low for token in main[1:]]
        if "to" in rest and words.PRONOUNS.intersection(rest[: rest.index("to")]):
            return None
        doer = self.subject
        reduced = (ing or past) and not comma and self.role != "subject"
        if relative or (reduced and not (self.subject.animate and not self.last.animate)):
            doer = self.last
        elif again and self.doer is not None and self.role == "object":
            doer = self.doer
        said = self.subject_text if doer is self.subject else self._said(doer)
        text = self._words(link)
        if not text:
            return None
        passive = past and (len(main) > 1 or not followed)
        if ing or (passive and not words.is_finite(verb)):
            text = f"{_be(doer)} {text}"
        return f"{said} {text}", doer

    def _tail(self, link: list[_Token]) -> None:
        """Words after which no phrase comes: what the subject does or is."""
        comma = any(token.low == "," for token in link[:1])
        link = _trimmed(link)
        joined = bool(link) and link[0].low in words.CONJUNCTIONS
        while link and link[0].low in _TOGETHER:
            link = link[1:]
        lows = [token.low for token in link]
        if not lows or all(low in _SEEN for low in lows) or (self.of_image and self.subject is None):
            return
        if lows[0] in words.SUBJECT_PRONOUNS:
            self._pronoun(lows[0])
            link, lows = link[1:], lows[1:]
        if self.last is None or self.subject is None or not link:
            self.whole = False
            return
        if all(_is_preposition(low) or words.is_adverb(low) or words.is_adjective(low) for low in lows):
            text = self._words(link)
            if text and self.stem:
                self._add("attribute", f"{self.stem} {text}", self.subject.parents)
            elif text:
                self._add("attribute", f"There {_be(self.last)} {self._said(self.last)} {text}", self.last.parents)
            return
        if any(low in ("to", "that", "how", "what") for low in lows[:-1]):
            self.whole = False
            return
        again = joined and not comma
        made = self._predicate(link, comma, followed=False, again=again)
        if made is None:
            self.whole = False
            return
        statement, doer = made
        self._add("attribute", statement, doer.parents)

    # --- claims ---

    def _things(self, phrase: _Phrase) -> tuple[int, ...]:
        """Claim what a phrase names: that it is there, how many, of what kind. Gives the claims that others depend on."""
        if phrase.parents:
            return phrase.parents
        if phrase.image or phrase.place or phrase.last in words.ABSTRACT:
            if phrase.of is not None and not phrase.of.image:
                phrase.parents = self._things(phrase.of)
            return phrase.parents
        if phrase.quote is not None and phrase.last in (
            "word",
            "words",
            "text",
            "letters",
            "number",
            "name",
            "phrase",
            "letter",
        ):
            noun = phrase.last if phrase.last in ("word", "words") else ("words" if " " in phrase.quote else "word")
            verb = "are" if noun == "words" else "is"
            phrase.parents = (self._add("text", f'The {noun} "{phrase.quote}" {verb} printed'),)
            return phrase.parents
        known = self._known(phrase)
        if known is not None:
            phrase.parents = known.parents
        else:
            one = phrase.determiner in ("one", "1")
            plural = phrase.plural and not one
            phrase.parents = (self._add("object", _there_is(phrase, phrase.bare(), plural)),)
            self.reader.mentions.append(phrase)
        first = phrase.parents
        for adjective in phrase.adjectives:
            if _tells(adjective):
                self._add("attribute", _there_is(phrase, phrase.bare(adjective), phrase.plural), first)
        if phrase.counted and (known is None or known.determiner != phrase.determiner):
            self._add("count", f"There {_be(phrase)} {phrase.determiner} {phrase.bare()}", first)
        if phrase.of is not None and phrase.of.adjectives:
            inner = phrase.of
            for adjective in inner.adjectives:
                if _tells(adjective):
                    outer = f"{phrase.head} of {f'{inner.determiner} {adjective} {inner.bare()}'.strip()}"
                    self._add("attribute", _there_is(phrase, outer, phrase.plural), first)
        if phrase.of is not None and phrase.of.counted:
            self._add("count", _there_is(phrase, phrase.bare(), phrase.plural), first)
        return phrase.parents

    def _known(self, phrase: _Phrase) -> _Phrase | None:
        """What a phrase with "the" names again."""
        if phrase.determiner not in ("the", "this", "that", "these", "those", "both"):
            return None
        for other in reversed(self.reader.mentions):
            if other.last == phrase.last and other.parents and (phrase.of is None or phrase.bare() == other.bare()):
                return other
        return None

    def _bound(self, phrases: Sequence[_Phrase]) -> None:
        """Claim that adjectives are of one thing, where no relation says it with them: "There is a red circle." and "There is
        a large circle." may be true of two circles.
        """
        said = [one.statement.lower() for one in self.reader.claims if one.start == self.sentence.start]
        for phrase in (one.of if one.image and one.of is not None else one for one in phrases):
            adjectives = [one for one in phrase.adjectives if _tells(one)]
            if (
                len(adjectives) < 2
                or not phrase.parents
                or phrase.image
                or phrase.place
                or phrase.last in words.ABSTRACT
            ):
                continue
            if not any(phrase.text.lower() in statement for statement in said):
                self._add("attribute", _there_is(phrase, phrase.bare(*adjectives), phrase.plural), phrase.parents)

    def _texts(self, phrases: Sequence[_Phrase]) -> None:
        """Claim what is written, where the phrases have not."""
        said = {self.reader.claims[place].statement for phrase in phrases for place in phrase.parents}
        for text in claimed_texts(self.sentence.text):
            noun, verb = ("words", "are") if " " in text else ("word", "is")
            if not any(f'"{text}"' in statement for statement in said):
                self._add("text", f'The {noun} "{text}" {verb} printed')

    def _add(self, kind: Kind, statement: str, parents: Iterable[int] = ()) -> int:
        return self.reader.add(kind, _sentence(statement), self.sentence, parents)

    def _said(self, phrase: _Phrase) -> str:
        """A phrase as it stands in a statement: its own words, "his" made the owner's."""
        text = phrase.text
        if phrase.determiner in words.POSSESSIVES:
            owner = self.subject if self.subject is not None and _can_mean(phrase.determiner, self.subject) else None
            if owner is None or not self.subject_text:
                owner = self.reader.meant(phrase.determiner, [])
                own = f"the {owner.bare()}'s" if owner is not None else "the"
                text = own + text[len(phrase.determiner) :]
        return text

    def _words(self, link: list[_Token]) -> str:
        """The words of a link, pronouns made nouns; empty where one stands for nothing that was mentioned."""
        said: list[str] = []
        for token in link:
            if token.low in ("it", "them", "him", "he", "she", "they") and token is not link[0]:
                nearest = [one for one in (self.subject, self.last) if one is not None]
                meant = self.reader.meant(token.low, nearest[::-1])
                if meant is None:
                    self.whole = False
                    return ""
                said.append(f"the {meant.bare()}")
            else:
                said.append(token.text)
        return " ".join(said)

    def _text(self, start: int, stop: int) -> str:
        text = self.sentence.text[self.tokens[start].start : self.tokens[stop - 1].end]
        text = re.sub(r"\s+(?=['’]s\b)|(?<=\w)\s+(?=,)", "", re.sub(r"\s+", " ", text))
        return _lowered(text) if start == 0 else text


def _trimmed(link: list[_Token]) -> list[_Token]:
    """Without commas and other marks at its ends and in between."""
    return [token for token in link if token.kind != "mark" or token.low in _BREAKS or token.low == "&"]


def _starts_clause(after: list[_Token], phrase: _Phrase) -> bool:
    """Whether a phrase is the subject of the words after it."""
    main = [token.low for token in after if not words.is_adverb(token.low)]
    if not main:
        return False
    return words.is_finite(main[0]) or (main[0] in words.VERB_BASES and phrase.plural)


def _presents(lows: list[str]) -> bool:
    """Whether words before the first phrase only say that it can be seen."""
    if lows[0] in ("this", "these", "it", "that") and all(low in words.BE for low in lows[1:]) and len(lows) > 1:
        return True
    if lows[-1] == "of" and set(lows) <= {"a", "an", "close", "up", "extreme", "of"}:
        return True
    return lows[0] in ("we", "you", "i") and lows[-1] in ("see", "seeing")


def _is_preposition(low: str) -> bool:
    return low in _PREPOSITIONS


def _is_quantity(determiner: str) -> bool:
    return " " in determiner or _is_digits(determiner)


def _is_someone(noun: str) -> bool:
    one = noun.removesuffix("s")
    return bool({noun, one} & (words.MEN | words.WOMEN | words.PEOPLE | words.ANIMALS))


def _is_digits(low: str) -> bool:
    return low.isascii() and low.isdigit() and len(low) <= 3


def _is_proper(head: str) -> bool:
    return sum(word[:1].isupper() for word in head.split()) > 1 or head.isupper()


def _lowered(text: str) -> str:
    first = text.split(" ", 1)[0]
    return text if len(first) > 1 and first.isupper() else text[:1].lower() + text[1:]


def _tells(adjective: str) -> bool:
    """Whether an adjective says something that can be asked about."""
    return adjective.lower() not in _NO_CLAIM and not adjective.endswith(("'s", "’s", *'"”»'))


def _be(phrase: _Phrase) -> str:
    return "are" if phrase.plural else "is"


def _there_is(phrase: _Phrase, said: str, plural: bool) -> str:
    if phrase.determiner in words.POSSESSIVES and not plural:
        return f"There is {_a(said)} {said}"
    if plural:
        return f"There are {said}"
    if phrase.proper:
        return f"The image shows {'the ' if phrase.determiner == 'the' else ''}{said}"
    if phrase.last in words.MASS and phrase.determiner not in ("a", "an", "one", "another"):
        return f"There is {said}"
    return f"There is {_a(said)} {said}"


def _a(said: str) -> str:
    first = said.lower()
    vowel = first[:1] in tuple("aeiou") and not first.startswith(("uni", "use", "one", "eu", "ufo"))
    return "an" if vowel or first.startswith(("hour", "honest")) else "a"


def _sentence(text: str) -> str:
    text = as_statement(text).rstrip(" ,;:-")
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
