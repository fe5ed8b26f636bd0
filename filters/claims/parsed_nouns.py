"""The noun phrases of a parsed sentence: how they are said, and what they claim by themselves."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any, Final

from filters.claims.claim import Kind
from filters.claims.collected import Collected
from filters.claims.parsed import describes, is_proper, is_quote, is_thing
from filters.claims.phrase import Phrase, can_mean, is_digits
from filters.claims.statements import as_sentence, tells, with_article
from filters.wording import caption_words as words
from filters.wording.noun_phrases import word_set
from filters.wording.object_words import ends_abstract, vocabulary
from filters.wording.sentences import Sentence

MEASURES: Final = words.GROUPS | word_set(
    "groups pairs rows sets pattern patterns type types kind kinds sort sorts style piece pieces stack stacks pile piles bunch",
    "series line lines lot lots cluster clusters arrangement slice slices layer layers strip strips bit patch patches",
    "mixture mix assortment display number amount majority hint touch shade shades section sections part parts form",
)
"""Nouns that mean little without the "of" after them."""
COUNTERS: Final = word_set("couple lot lots number dozen dozens hundreds handful variety majority plenty multitude")
"""Nouns that count what is after their "of"."""
_NOT_THINGS: Final = word_set(
    "overhead view lot example way direction angle size sizes look texture diameter exterior interior distance surface",
    "pose color colors colour colours style tone tones hue hues level position",
    "orientation instance manner case fact idea thing things appearance term terms length width height depth thirds third quarter",
    "quarters half halves majority rest remainder amount degree degrees condition perspective portrait landscape focus name",
)
PLACE: Final = re.compile(
    r"(?:top|bottom|upper|lower|cent(?:er|re)|middle)[\s-](?:left|right|cent(?:er|re))|(?:left|right)[\s-]hand|mid-\w+"
)
_TEXTS: Final = frozenset(("word", "words", "text", "letter", "letters", "number", "name", "phrase"))
_LEFT: Final = frozenset(
    (
        "det",
        "amod",
        "compound",
        "nummod",
        "poss",
        "nmod",
        "predet",
        "advmod",
        "npadvmod",
        "quantmod",
        "preconj",
        "punct",
    )
)
_MANY: Final = words.NUMBERS | words.QUANTIFIERS - {"all", "most", "half"}


class Unclear(Exception):
    """A pronoun stands for nothing that was mentioned, or a part has no statement."""


class ParsedNouns:
    """The noun phrases of one sentence. `unsure`: the places of tokens of which nobody says that they are there."""

    def __init__(self, caption: Collected, sentence: Sentence, doc: Any, unsure: Collection[int]) -> None:
        self.caption = caption
        self.sentence = sentence
        self.doc = doc
        self.unsure = unsure
        self.subject: Phrase | None = None
        self.doer: Phrase | None = None  # of the clause that is being said: "a man holds his hat"
        self.phrases = {token.i: self._phrase(token) for token in doc if is_thing(token)}

    # --- how a phrase is said ---

    def said(self, token: Any) -> str:
        """A phrase as it stands in a statement: its own words without the clauses that follow, pronouns made nouns.

        Raises Unclear.
        """
        if token.pos_ == "PRON" and token.lower_ not in words.IMAGES:
            return self._meant(token)
        if token.tag_ in ("WDT", "WP", "EX"):
            raise Unclear
        left = [part for child in token.lefts if child.dep_ in _LEFT for part in self._left(child)]
        text = "".join((*left, token.text_with_ws)).strip()
        if self._lacks_article(token):
            text = f"{with_article(text)} {text}"
        quote = self.quote(token)
        text += f" {quote.text}" if quote is not None else ""
        for child in token.rights:
            if child.dep_ == "nummod" and not is_quote(child):
                text += " " + child.text
            elif child.dep_ == "prep" and child.lower_ == "of":
                inner = [self.all_said(one) for one in child.children if one.dep_ in ("pobj", "pcomp")]
                text += "".join(f" of {one}" for one in inner)
        return text[:1].lower() + text[1:] if token.left_edge.i == 0 and not _is_name(token.left_edge) else text

    def _lacks_article(self, token: Any) -> bool:
        """Whether it shares the article of what it is joined to: "a toilet and sink"."""
        first = token
        while first.dep_ == "conj":
            first = first.head
        return bool(
            token.dep_ == "conj"
            and token.pos_ == "NOUN"
            and first.i in self.phrases
            and self.phrases[first.i].determiner in ("a", "an")
            and not self.phrases[token.i].determiner
            and not self.phrases[token.i].plural
            and token.lower_ not in words.MASS
        )

    def all_said(self, token: Any) -> str:
        """A phrase and those joined to it. Raises Unclear."""
        text = self.said(token) if token.pos_ in ("NOUN", "PROPN", "PRON", "NUM", "X", "SYM") else self.raw(token)
        while True:
            joined = [child for child in token.children if child.dep_ == "conj"]
            if not joined:
                return text
            link = [child.text for child in token.children if child.dep_ in ("cc", "preconj") and child.i > token.i]
            text += f" {link[0]} " if link else ", "
            token = joined[0]
            text += self.said(token) if is_thing(token) else self.raw(token)

    def raw(self, token: Any) -> str:
        """All the words under a token. Raises Unclear where one is a pronoun for something."""
        parts = []
        for one in token.subtree:
            if one.pos_ == "PRON" and one.tag_ in ("PRP", "PRP$") and one.lower_ not in words.SPEAKERS:
                parts.append(self._meant(one) + one.whitespace_)
            else:
                parts.append(one.text_with_ws)
        return "".join(parts).strip(" ,;.")

    def _left(self, child: Any) -> Iterable[str]:
        if child.tag_ == "PRP$":
            return (self._meant(child) + " ",)
        if child.dep_ == "poss" and child.pos_ == "PRON":
            raise Unclear
        return (self._meant(one) + " " if one.tag_ == "PRP$" else one.text_with_ws for one in child.subtree)

    def _meant(self, token: Any) -> str:
        low = token.lower_
        if low in words.SPEAKERS or low in ("i", "one", "something", "someone", "everything", "everyone"):
            if low in ("something", "someone"):
                return str(token.text)
            raise Unclear
        if low.endswith(("self", "selves")):
            return str(token.text)
        if token.tag_ == "PRP$" and self.doer is not None and can_mean(low, self.doer):
            return str(token.text)
        kind = {"its": "its", "their": "their", "theirs": "their", "his": "his", "her": "her"}.get(low, low)
        before = [phrase for place, phrase in self.phrases.items() if place < token.i and place not in self.unsure]
        first = [self.subject] if self.subject is not None and self.subject in before else []
        for phrase in (*first, *self.caption.subjects[-1:], *reversed(before), *reversed(self.caption.mentions)):
            if can_mean(kind, phrase):
                owner = phrase.head if phrase.proper else f"the {phrase.head}"
                return owner + ("'" if owner.endswith("s") else "'s") if token.tag_ == "PRP$" else owner
        raise Unclear

    # --- what a phrase is ---

    def _phrase(self, token: Any) -> Phrase:
        compounds = [
            child
            for child in token.lefts
            if (child.dep_ in ("compound", "nmod") and not describes(child)) or _is_name_of_one(child, token)
        ]
        start = min((child.left_edge.i for child in compounds), default=token.i)
        kept = [
            one
            for one in self.doc[start : token.i + 1]
            if one.pos_ not in ("DET",) and (one.i == token.i or one.dep_ not in ("det", "poss", "case"))
        ]
        head = "".join(one.text_with_ws for one in kept).strip()
        if start == 0 and token.pos_ == "NOUN" and not _is_name(self.doc[0]):
            head = head[:1].lower() + head[1:]
        determiner = next(
            (c.lower_ for c in token.lefts if c.dep_ in ("det", "poss", "nummod", "predet") and c.lower_ != "all"), ""
        )
        number = self.number(token)
        many = token.tag_ in ("NNS", "NNPS") or (bool(number) and number not in ("one", "1"))
        phrase = Phrase(
            determiner, [], head, token.lower_, token.text, token.i + 1, several=many and token.lower_ not in words.MASS
        )
        return phrase

    def number(self, token: Any) -> str:
        """How many there are, as it is said; empty where it is not."""
        lows = [child for child in token.lefts if child.dep_ in ("nummod", "det", "amod", "predet")]
        for child in lows:
            if (
                child.dep_ == "nummod"
                and (child.lower_ in words.NUMBERS or is_digits(child.lower_))
                and not list(child.children)
            ):
                return str(child.lower_)
            if child.lower_ in _MANY and child.lower_ != "both":
                return str(child.lower_)
            if child.lower_ == "few" and child.i and self.doc[child.i - 1].lower_ == "a":
                return "a few"
        return ""

    def adjectives(self, token: Any) -> list[str]:
        """What is said of it before it, each by itself; those joined by "and" together."""
        found = []
        start = token.i + 1 - len(self.phrases[token.i].head.split()) if token.i in self.phrases else token.i
        for child in token.lefts:
            if child.dep_ not in ("amod", "compound", "nmod") or (child.dep_ != "amod" and not describes(child)):
                continue
            if child.i >= start or is_quote(child) or child.lower_ in words.QUANTIFIERS or child.tag_ == "CD":
                continue
            text = "".join(one.text_with_ws for one in child.subtree).strip(" ,")
            if tells(text) and tells(child.text):
                found.append(text if child.left_edge.i else text[:1].lower() + text[1:])
        return found

    def bare(self, token: Any, *adjectives: str) -> str:
        """Without determiner, with these adjectives; a measure with what it is of."""
        text = " ".join((*adjectives, self.phrases[token.i].head))
        if token.lower_ in MEASURES:
            try:
                whole = self.said(token)
            except Unclear:
                return text
            if " of " in whole:
                return text + " of " + whole.split(" of ", 1)[1]
        return text

    def is_object(self, token: Any) -> bool:
        """Whether a phrase names something that is there."""
        low = token.lower_
        if (
            token.i in self.unsure
            or low in words.ABSTRACT | _NOT_THINGS
            or self.is_place(token)
            or self.is_image(token)
        ):
            return False
        if low in words.COLOURS and self.phrases[token.i].determiner not in ("a", "an", *words.NUMBERS):
            return False
        if ends_abstract(low) or low in COUNTERS:
            return False
        is_predicate = (
            token.dep_ in ("attr", "oprd")
            and token.head.lemma_ in ("be", "become", "call")
            and not presents(token.head)
        )
        return not is_predicate and not (
            token.dep_ == "conj"
            and token.head.i in self.phrases
            and not self.is_object(token.head)
            and token.head.dep_ in ("attr", "oprd")
        )

    def is_place(self, token: Any) -> bool:
        """Whether it is a place in the image, or a side of something."""
        return (
            token.lower_ in words.PLACES
            or bool(PLACE.fullmatch(token.lower_))
            or (token.lower_ == "frame" and token.dep_ == "pobj")
        )

    def is_image(self, token: Any) -> bool:
        """Whether it is what the image is called by."""
        return token.lower_ in words.IMAGES and not any(child.dep_ == "poss" for child in token.children)

    # --- claims ---

    def add(self, kind: Kind, statement: str, parents: Iterable[int] = ()) -> int:
        return self.caption.add(kind, as_sentence(statement), self.sentence, parents)

    def things(self, token: Any) -> tuple[int, ...]:
        """Claim that a thing is there, how many, and of what kind; gives the claims that others depend on."""
        phrase = self.phrases.get(token.i)
        if phrase is None or phrase.parents or not self.is_object(token):
            return phrase.parents if phrase is not None else ()
        quote = self.quote(token)
        if token.lower_ in _TEXTS and quote is not None:
            return self._text(token, quote, phrase)
        known = self._known(token, phrase)
        if known is not None:
            phrase.parents = known.parents
        else:
            phrase.parents = (self.add("object", self.there_is(token, self.bare(token))),)
            self.caption.mentions.append(phrase)
        adjectives = self.adjectives(token)
        for adjective in adjectives:
            self.add("attribute", self.there_is(token, self.bare(token, adjective)), phrase.parents)
        number = self.number(token)
        if number and (known is None or known.determiner != number):
            self.add("count", f"There {self.be(token)} {number} {self.bare(token)}", phrase.parents)
        phrase.adjectives = adjectives
        return phrase.parents

    def bound(self) -> None:
        """Claim that adjectives are of one thing, where no relation says it with them."""
        said = [one.statement.lower() for one in self.caption.claims if one.start == self.sentence.start]
        for place, phrase in self.phrases.items():
            token = self.doc[place]
            if len(phrase.adjectives) > 1 and phrase.parents and place not in self.unsure:
                full = self.bare(token, *phrase.adjectives)
                if not any(full.lower() in statement for statement in said):
                    self.add("attribute", self.there_is(token, full), phrase.parents)

    def there_is(self, token: Any, said: str) -> str:
        """That it is there."""
        phrase = self.phrases[token.i]
        if phrase.plural:
            return f"There are {said}"
        if is_proper(token):
            return f"The image shows {'the ' if phrase.determiner == 'the' else ''}{said}"
        counted = phrase.determiner in ("a", "an", "one", "another", "each", "every", "this", "that")
        lists = self._lacks_article(token)
        bare = not phrase.determiner and not lists and token.dep_ != "ROOT"
        if (phrase.last in words.MASS or bare) and not counted:
            return f"There is {said}"
        return f"There is {with_article(said)} {said}"

    def be(self, token: Any) -> str:
        """Its form of "to be"."""
        several = token.i in self.phrases and self.phrases[token.i].plural
        joined = any(child.dep_ == "conj" for child in token.children)
        if token.pos_ == "PRON":
            several = token.lower_ in ("they", "them", "these", "those")
        return "are" if several or joined else "is"

    def quote(self, token: Any) -> Any | None:
        """The quotation right after it: of 'the word "STOP"'."""
        after = self.doc[token.i + 1] if token.i + 1 < len(self.doc) else None
        return after if after is not None and is_quote(after) else None

    def with_article(self, token: Any, said: str) -> str:
        """A bare phrase with the article that it takes."""
        phrase = self.phrases[token.i]
        if phrase.plural or phrase.last in words.MASS or is_proper(token):
            return said
        return f"{with_article(said)} {said}"

    def _known(self, token: Any, phrase: Phrase) -> Phrase | None:
        if not is_proper(self.doc[phrase.stop - 1]) and phrase.determiner not in (
            "the",
            "this",
            "that",
            "these",
            "those",
            "both",
            *words.POSSESSIVES,
        ):
            return None
        for other in reversed(self.caption.mentions):
            if other.last == phrase.last and other.parents and other.head.endswith(phrase.head):
                return other
        return None

    def _text(self, token: Any, quote: Any, phrase: Phrase) -> tuple[int, ...]:
        text = quote.text[1:-1].strip().rstrip(",.")
        noun = token.lower_ if token.lower_ in ("word", "words") else ("words" if " " in text else "word")
        phrase.parents = (self.add("text", f'The {noun} "{text}" {"are" if noun == "words" else "is"} printed'),)
        return phrase.parents


def _is_name_of_one(child: Any, token: Any) -> bool:
    """Whether an adjective and its noun name one kind of thing: "hot dog", "living room"."""
    if child.dep_ != "amod" or child.i + 1 != token.i:
        return False
    known, noun = vocabulary().words, token.lemma_.lower()
    both = f"{child.lower_} {noun}"
    return both == "living room" or (both in known and known[both] != known.get(noun))


def presents(verb: Any) -> bool:
    """Whether a form of "to be" only says that something can be seen: "there is", "this is"; or follows it: "below is"."""
    subjects = [child for child in verb.children if child.dep_ in ("nsubj", "nsubjpass", "expl", "csubj")]
    return all(child.lower_ in ("there", "this", "these", "it", "that", "here") for child in subjects)


def _is_name(token: Any) -> bool:
    return bool(is_proper(token) or (len(token.text) > 1 and token.text.isupper()) or is_quote(token))
