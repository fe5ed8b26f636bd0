"""Reads the clauses of a sentence from its noun phrases and the words between them."""

from __future__ import annotations

import re
from typing import Literal

from filters.claims.claim import Kind
from filters.claims.collected import Collected
from filters.claims.phrase import Phrase, can_mean
from filters.claims.phrase_claims import PhraseClaims
from filters.claims.phrase_finder import PhraseFinder
from filters.claims.statements import be, lowered, tells, with_article
from filters.claims.tokens import BREAKS, LOCATIVES, SEEN, TOGETHER, TOKEN, Token, is_preposition, trimmed
from filters.wording import caption_words as words
from filters.wording.sentences import Sentence


class Clause:
    """Reads the clauses of one sentence from left to right."""

    def __init__(self, caption: Collected, sentence: Sentence) -> None:
        self.caption = caption
        self.sentence = sentence
        self.tokens = [
            Token(match.group(), re.sub(r"\s+", " ", match.group().lower()), match.lastgroup or "", *match.span())
            for match in TOKEN.finditer(sentence.text)
        ]
        self.finder = PhraseFinder(sentence.text, self.tokens)
        self.claims = PhraseClaims(caption, sentence)
        self.subjects: list[Phrase] = []
        self.subject: Phrase | None = None  # of the clause being read
        self.subject_text = ""
        self.last: Phrase | None = None  # the phrase before
        self.role: Literal["none", "subject", "attached", "object"] = "none"
        self.beside = (
            False  # whether the phrase before came with "with", after a verb: "A man eats with a dog beside him"
        )
        self.doer: Phrase | None = None  # of the verb before
        self.articled = False  # whether a list began with "a"
        self.stem = ""  # the clause so far, of "A man rides a horse on a beach" what "on a beach" is added to
        self.repeat: tuple[str, tuple[int, ...]] | None = None  # what the next of a list is added to
        self.fronted: tuple[str, Phrase] | None = None  # "In the background"
        self.place: tuple[str, Phrase] | None = None  # the same, once the clause has a subject
        self.of_image = False  # "The image shows" was read
        self.whole = True  # whether all was understood

    # --- phrases ---

    def read(self) -> bool:
        """Add the sentence's claims; False where a part was not understood."""
        links: list[list[Token]] = [[]]
        phrases: list[Phrase] = []
        at = 0
        while at < len(self.tokens):
            near = all(words.is_adverb(token.low) for token in links[-1])
            found = self.finder.find(at, phrases[-1] if phrases and near else None)
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
        self.claims.bound(phrases)
        self.claims.texts(phrases)
        return self.whole and bool(phrases)

    # --- clauses ---

    def _join(self, link: list[Token], phrase: Phrase, after: list[Token]) -> None:
        """Take in a phrase and the words between it and the phrase before."""
        comma = any(token.low == "," for token in link[:1])
        link = trimmed(link)
        for place in range(len(link) - 1, -1, -1):
            low = link[place].low
            starts = low in words.SUBORDINATORS or low in BREAKS
            if starts and not (low == "as" and place + 1 < len(link) and link[place + 1].low in ("if", "though")):
                self._tail(link[:place])
                link = trimmed(link[place + 1 :])
                if not link or link[0].low == "there":
                    self._subject(phrase)
                    return
                comma = True
                break
        again = bool(link) and link[0].low in words.CONJUNCTIONS
        both = [token.low for token in link] if all(token.low in TOGETHER for token in link) else []
        if link and link[0].low in TOGETHER and len(link) > 1:
            link, comma = trimmed(link[1:]), True
        joined = len(link) > 1 and link[-1].low in words.CONJUNCTIONS and not is_preposition(link[-2].low)
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
        elif all(low in TOGETHER for low in lows):
            self._another(phrase, after)
        elif lows[0] in ("there", "here") or (self.subject is None and self.fronted is not None):
            self._subject(phrase)
        elif phrase.image and all(is_preposition(low) for low in lows):
            pass
        elif all(is_preposition(low) or words.is_adverb(low) for low in lows) and any(map(is_preposition, lows)):
            self._attached(link, phrase, comma, after)
        else:
            self._verb(link, phrase, comma, again)

    def _says_there_is(self, lows: list[str], pronoun: str) -> bool:
        """Whether the words are "it is" and nothing that it could stand for was mentioned."""
        return all(low in words.BE for low in lows[1:]) and self.caption.meant(pronoun, []) is None

    def _first(self, lows: list[str], link: list[Token], phrase: Phrase) -> None:
        if phrase.image and not phrase.quote:
            if phrase.of is not None and all(map(words.is_adverb, lows)):
                self._scene(phrase)
                phrase = phrase.of
            elif all(is_preposition(low) or words.is_adverb(low) or low in ("this", "is") for low in lows):
                self._scene(phrase)
                self.of_image, self.role = True, "subject"
                return
        if not lows or lows[0] in ("there", "here") or _presents(lows):
            self._subject(phrase)
        elif all(is_preposition(low) or words.is_adverb(low) for low in lows):
            self.claims.things(phrase)
            self.fronted, self.last, self.role = (lowered(self._words(link)), phrase), phrase, "attached"
        else:
            self._loose(phrase)

    def _of_image(self, lows: list[str], phrase: Phrase) -> None:
        """The phrase after "The image shows", or after "In this image,"."""
        understood = all(
            is_preposition(low)
            or words.is_adverb(low)
            or words.is_finite(low)
            or words.is_ing(low)
            or words.is_ed(low)
            or low in TOGETHER | {"we", "you", "can", "see", "that", "there"} | words.AUXILIARIES
            for low in lows
        )
        self.whole = self.whole and understood
        self._subject(phrase)

    def _scene(self, phrase: Phrase) -> None:
        for adjective in phrase.adjectives:
            if tells(adjective) and adjective.lower() != "close-up":
                self.claims.add("attribute", f"The {phrase.head} is {adjective}")

    def _subject(self, phrase: Phrase) -> None:
        """Begin a clause with a phrase."""
        if phrase.image and phrase.of is not None:
            self._scene(phrase)
            phrase = phrase.of
        self.claims.things(phrase)
        self.subject, self.last, self.role = phrase, phrase, "subject"
        self.subject_text = self._said(phrase)
        self.stem, self.repeat, self.doer, self.beside = "", None, None, False
        self.subjects.append(phrase)
        self.place, self.fronted = self.fronted, None
        self._placed(phrase)

    def _placed(self, phrase: Phrase) -> None:
        """Claim that a subject is where the clause began."""
        if self.place is not None and not self.place[1].image:
            where, place = self.place
            statement = f"{self._said(phrase)} {be(phrase)} {where} {self._said(place)}"
            self.claims.add("relation", statement, (*phrase.parents, *place.parents))

    def _pronoun(self, pronoun: str) -> None:
        meant = self.caption.meant(pronoun, [one for one in self.subjects[-1:] if self.role != "none"])
        self.subject = meant
        self.stem, self.repeat, self.fronted = "", None, None
        if meant is None:
            self.whole = False
            return
        self.subject_text, self.last, self.role = f"the {meant.bare()}", meant, "subject"
        self.subjects.append(meant)

    def _loose(self, phrase: Phrase) -> None:
        """A phrase whose part in the sentence was not understood."""
        self.whole = False
        self.claims.things(phrase)
        self.last, self.role, self.stem, self.repeat = phrase, "object", "", None

    def _another(self, phrase: Phrase, after: list[Token]) -> None:
        """A phrase after "and" or a comma: one more subject, one more of a list, or the subject of a new clause."""
        if self.subject is None or self.last is None or self.fronted is not None:
            self._subject(phrase)
        elif self.role == "subject":
            parents = self.claims.things(phrase)
            self._placed(phrase)
            joined = Phrase("two", [], phrase.head, phrase.last, phrase.text, phrase.stop, of=phrase.of)
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
            said = f"{with_article(phrase.text)} {phrase.text}" if lacks and not phrase.proper else self._said(phrase)
            self.claims.add("relation", f"{start} {said}", (*parents, *self.claims.things(phrase)))
            self.last = phrase

    def _attached(self, link: list[Token], phrase: Phrase, comma: bool, after: list[Token]) -> None:
        """A phrase after a preposition: of the clause where it has a verb, else of the phrase before."""
        where = self._words(link)
        things = self.claims.things(phrase)
        self.articled = phrase.determiner in ("a", "an")
        anchor = self.subject if comma and self.subject is not None and not self.stem else self.last
        assert anchor is not None
        if link[-1].low == "between" and not phrase.plural:
            self.whole = False
            self.last, self.role, self.repeat = phrase, "attached", None
            return
        beside, self.beside = self.beside, where == "with" and bool(self.stem)
        if self.stem and self.subject is not None and not (beside and link[-1].low in LOCATIVES):
            start, parents = f"{self.stem} {where}", self.subject.parents
            if not (self.beside and after and after[0].low in LOCATIVES):  # "with a boat in the background"
                self.claims.add("relation", f"{start} {self._said(phrase)}", (*parents, *things))
            self.repeat = (start, parents)
            self.last, self.role = phrase, "object"
            return
        said = self.subject_text if anchor is self.subject else self._said(anchor)
        if where == "with":
            start = f"{said} {'have' if anchor.plural else 'has'}"
        elif link[-1].low in LOCATIVES or link[0].low in LOCATIVES:
            start = f"{said} {be(anchor)} {where}"
        else:
            start = f"There {be(anchor)} {said} {where}"
        self.claims.add("relation", f"{start} {self._said(phrase)}", (*anchor.parents, *things))
        self.repeat = (start, anchor.parents)
        self.last, self.role = phrase, "attached"

    def _verb(self, link: list[Token], phrase: Phrase, comma: bool, again: bool) -> None:
        """A phrase after a verb; `again`: one more verb of the same doer."""
        made = self._predicate(link, comma, followed=True, again=again)
        self.articled = phrase.determiner in ("a", "an")
        if made is None:
            self._loose(phrase)
            return
        start, doer = made
        low = [token.low for token in link if not words.is_adverb(token.low) and token.low not in words.RELATIVES]
        is_one = bool(low) and all(one in words.BE for one in low)
        things = () if is_one else self.claims.things(phrase)
        if phrase.image and not is_one and is_preposition(link[-1].low):
            self._tail([token for token in link if not is_preposition(token.low)])
            return
        kind: Kind = "attribute" if is_one else "relation"
        self.claims.add(kind, f"{start} {self._said(phrase)}", (*doer.parents, *things))
        if self.subject is None or doer is self.subject:
            self.stem = f"{start} {self._said(phrase)}"
            self.repeat = (start, doer.parents)
        else:
            self.repeat = (start, doer.parents)
        self.last, self.role, self.doer, self.beside = phrase, "object", doer, False

    def _predicate(
        self, link: list[Token], comma: bool, followed: bool, again: bool = False
    ) -> tuple[str, Phrase] | None:
        """(subject and verb, the phrase that does it), of words that hold a verb; None where they are not understood."""
        if link and link[0].low in TOGETHER:
            link, comma = trimmed(link[1:]), True
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
            text = f"{be(doer)} {text}"
        return f"{said} {text}", doer

    def _tail(self, link: list[Token]) -> None:
        """Words after which no phrase comes: what the subject does or is."""
        comma = any(token.low == "," for token in link[:1])
        link = trimmed(link)
        joined = bool(link) and link[0].low in words.CONJUNCTIONS
        while link and link[0].low in TOGETHER:
            link = link[1:]
        lows = [token.low for token in link]
        if not lows or all(low in SEEN for low in lows) or (self.of_image and self.subject is None):
            return
        if lows[0] in words.SUBJECT_PRONOUNS:
            self._pronoun(lows[0])
            link, lows = link[1:], lows[1:]
        if self.last is None or self.subject is None or not link:
            self.whole = False
            return
        if all(is_preposition(low) or words.is_adverb(low) or words.is_adjective(low) for low in lows):
            text = self._words(link)
            if text and self.stem:
                self.claims.add("attribute", f"{self.stem} {text}", self.subject.parents)
            elif text:
                self.claims.add("attribute", f"There {be(self.last)} {self._said(self.last)} {text}", self.last.parents)
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
        self.claims.add("attribute", statement, doer.parents)

    def _said(self, phrase: Phrase) -> str:
        """A phrase as it stands in a statement: its own words, "his" made the owner's."""
        text = phrase.text
        if phrase.determiner in words.POSSESSIVES:
            owner = self.subject if self.subject is not None and can_mean(phrase.determiner, self.subject) else None
            if owner is None or not self.subject_text:
                owner = self.caption.meant(phrase.determiner, [])
                own = f"the {owner.bare()}'s" if owner is not None else "the"
                text = own + text[len(phrase.determiner) :]
        return text

    def _words(self, link: list[Token]) -> str:
        """The words of a link, pronouns made nouns; empty where one stands for nothing that was mentioned."""
        said: list[str] = []
        for token in link:
            if token.low in ("it", "them", "him", "he", "she", "they") and token is not link[0]:
                nearest = [one for one in (self.subject, self.last) if one is not None]
                meant = self.caption.meant(token.low, nearest[::-1])
                if meant is None:
                    self.whole = False
                    return ""
                said.append(f"the {meant.bare()}")
            else:
                said.append(token.text)
        return " ".join(said)


def _starts_clause(after: list[Token], phrase: Phrase) -> bool:
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
