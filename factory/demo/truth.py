"""The truth about captions of demo scenes: the only place where a caption meets what its picture really shows.

The factory never sees this. It serves to measure, afterwards, what filters, selections and rounds achieve.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from factory.demo.claims import Claim, CountClaim, ErrorType, ThingClaim, WordClaim, differences
from factory.demo.language import NUMBERS, scene_claims
from factory.demo.scenes import COLOURS, PLACES, SHAPES, SIZES, Scene, draw_scene, scene_boxes, scene_index


@dataclass(frozen=True, slots=True)
class SentenceVerdict:
    """One sentence: ``correct`` if it was understood and all it says is true; ``errors`` says what is wrong.

    A sentence outside the language is ``parsed=False``: not correct, but without an error type either.
    """

    text: str
    correct: bool
    errors: tuple[ErrorType, ...] = ()
    parsed: bool = True


@dataclass(frozen=True, slots=True)
class CaptionVerdict:
    """The verdicts on all sentences of a caption, in order; no sentences for a caption without words."""

    sentences: tuple[SentenceVerdict, ...]

    @property
    def correct(self) -> bool:
        """True if there is at least one sentence and all are correct."""
        return bool(self.sentences) and all(verdict.correct for verdict in self.sentences)

    @property
    def correct_sentences(self) -> int:
        """How many sentences are correct."""
        return sum(verdict.correct for verdict in self.sentences)

    @property
    def unparsed_sentences(self) -> int:
        """How many sentences are outside the language."""
        return sum(not verdict.parsed for verdict in self.sentences)


def judge_caption(text: str, key: str, seed: int) -> CaptionVerdict:
    """Judge a caption of the image ``key`` of the demo source with this seed.

    Any text is judged, never refused. Raises ValueError if ``key`` is not the key of a demo scene.
    """
    return judge_caption_of(text, draw_scene(seed, scene_index(key)))


def judge_captions(texts: Sequence[str], keys: Sequence[str], seed: int) -> list[CaptionVerdict]:
    """Judge many captions: ``texts[i]`` as a caption of the image ``keys[i]``. Each scene is drawn once."""
    if len(texts) != len(keys):
        raise ValueError(f"{len(texts)} captions but {len(keys)} image keys; give one key for each caption")
    scenes: dict[str, Scene] = {key: draw_scene(seed, scene_index(key)) for key in set(keys)}
    return [judge_caption_of(text, scenes[key]) for text, key in zip(texts, keys, strict=True)]


def sentence_accuracy(pairs: Iterable[tuple[str, str]], seed: int) -> tuple[int, int]:
    """``(correct, total)`` sentences over (caption, image key) pairs of the demo source with this seed."""
    pairs = list(pairs)
    verdicts = judge_captions([text for text, _ in pairs], [key for _, key in pairs], seed)
    return sum(v.correct_sentences for v in verdicts), sum(len(v.sentences) for v in verdicts)


def facts_told(text: str, key: str, seed: int) -> tuple[int, int]:
    """How many of a scene's facts a caption tells, and how many there are: what a blind reader of it can answer.

    The facts are those of the scene's full caption: how many shapes, each shape, the printed word. A sentence that is not
    wholly right tells none; a shape is told by naming shape and colour at least.
    """
    scene = draw_scene(seed, scene_index(key))
    facts = scene_claims(scene)
    said = [
        claim
        for part in split_sentences(text)
        if (claims := parse_sentence(part)) is not None and not differences(claims, scene)
        for claim in claims
    ]
    return sum(any(_tells(claim, fact) for claim in said) for fact in facts), len(facts)


def true_boxes(key: str, seed: int) -> list[tuple[str, tuple[float, float, float, float]]]:
    """What a scene's picture shows where: name, and left, top, right, bottom as shares of its width and height.

    Raises ValueError for a key that is no scene's.
    """
    return scene_boxes(draw_scene(seed, scene_index(key)))


def _tells(claim: Claim, fact: Claim) -> bool:
    if isinstance(claim, ThingClaim) and isinstance(fact, ThingClaim):
        named = (claim.shape, claim.colour) == (fact.shape, fact.colour)
        return named and claim.size in (None, fact.size) and claim.place in (None, fact.place)
    if isinstance(claim, WordClaim) and isinstance(fact, WordClaim):
        return claim.word == fact.word
    return claim == fact


def claim_kinds(text: str) -> tuple[str, ...]:
    """What a sentence is about: "thing", "count", "word", in this order; ("other",) where it is outside the language."""
    claims = parse_sentence(text)
    if claims is None:
        return ("other",)
    kinds = {"thing": ThingClaim, "count": CountClaim, "word": WordClaim}
    return tuple(name for name, kind in kinds.items() if any(isinstance(claim, kind) for claim in claims))


def judge_caption_of(text: str, scene: Scene) -> CaptionVerdict:
    """Judge a caption of a scene of any split."""
    return CaptionVerdict(tuple(_judge_sentence(part, scene) for part in split_sentences(text)))


def _judge_sentence(text: str, scene: Scene) -> SentenceVerdict:
    claims = parse_sentence(text)
    if claims is None:
        return SentenceVerdict(text, correct=False, parsed=False)
    errors = differences(claims, scene)
    return SentenceVerdict(text, correct=not errors, errors=errors)


def split_sentences(text: str) -> list[str]:
    """The sentences of a text: parts that end in ".", "!", "?" before white space, or in a line break; those without
    a letter or digit are left out.
    """
    parts = re.split(r"(?<=[.!?])\s+|[\r\n]+", text)
    return [part.strip() for part in parts if re.search(r"\w", part)]


def parse_sentence(text: str) -> list[Claim] | None:
    """What one sentence claims, or None for one outside the language. Case, white space and end marks do not matter.

    The language, with optional parts in brackets (Wirth's notation; ``place`` is one of the 3x3 grid's names)::

        sentence = [where] [opener] item {("," | "and") item} .
        opener   = "there is" | "there are" | ("the" | "this") "image shows" | ("an image" | "a picture") "of" .
        item     = (number ("shape" | "shapes") | "the word" quoted | article [size] [colour] (shape | "shape"))
                   ["is" | "are"] ["printed" | "visible"] [where] .
        where    = ("at" | "on" | "in") "the" place .
    """
    tokens = _TOKEN.findall(text.lower().translate(_QUOTES))
    while tokens and tokens[-1] in _END_MARKS:
        tokens.pop()
    try:
        return _Parser(tokens).sentence()
    except _NotInLanguage:
        return None


class _NotInLanguage(Exception):
    pass


_TOKEN = re.compile(r"[^\W_]+|\S")
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "'": '"', "’": '"', "‘": '"'})
_END_MARKS = frozenset(".!?")
_OPENERS = (
    ("there", "is"),
    ("there", "are"),
    ("the", "image", "shows"),
    ("this", "image", "shows"),
    ("an", "image", "of"),
    ("a", "picture", "of"),
)
# Longest first, so that "top left" is not read as "top".
_PLACE_WORDS = sorted((tuple(place.split()) for place in PLACES), key=len, reverse=True)


class _Parser:
    """Reads the tokens of one sentence from left to right; raises _NotInLanguage where they do not fit."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.at = 0

    def sentence(self) -> list[Claim]:
        first_place = self._where()
        self._take(",")
        for opener in _OPENERS:
            if self._take(*opener):
                break
        claims = [self._item()]
        while self.at < len(self.tokens):
            if not (self._take(",", "and") or self._take(",") or self._take("and")):
                raise _NotInLanguage
            claims.append(self._item())
        if first_place is not None:
            if len(claims) != 1 or isinstance(claims[0], CountClaim) or claims[0].place is not None:
                raise _NotInLanguage
            claims[0] = _placed(claims[0], first_place)
        return claims

    def _item(self) -> Claim:
        claim = self._count() or self._word() or self._thing()
        _ = self._take("is") or self._take("are")
        _ = self._take("printed") or self._take("visible")
        place = self._where()
        if place is None:
            return claim
        if isinstance(claim, CountClaim):
            raise _NotInLanguage
        return _placed(claim, place)

    def _count(self) -> CountClaim | None:
        for number, name in enumerate(NUMBERS):
            if self._take(name, "shapes") or self._take(name, "shape"):
                return CountClaim(number)
        return None

    def _word(self) -> WordClaim | None:
        if not self._take("the", "word"):
            return None
        if self.tokens[self.at : self.at + 1] != ['"'] or self.tokens[self.at + 2 : self.at + 3] != ['"']:
            raise _NotInLanguage
        word = self.tokens[self.at + 1]
        self.at += 3
        return WordClaim(word)

    def _thing(self) -> ThingClaim:
        if not (self._take("a") or self._take("an") or self._take("one")):
            raise _NotInLanguage
        size = self._one_of(SIZES)
        colour = self._one_of(tuple(COLOURS))
        shape = self._one_of(SHAPES)
        if shape is None and not self._take("shape"):
            raise _NotInLanguage
        return ThingClaim(shape, colour, size)

    def _where(self) -> str | None:
        if not (self._take("at", "the") or self._take("on", "the") or self._take("in", "the")):
            return None
        for words in _PLACE_WORDS:
            if self._take(*words):
                return " ".join(words)
        raise _NotInLanguage

    def _one_of(self, words: tuple[str, ...]) -> str | None:
        return next((word for word in words if self._take(word)), None)

    def _take(self, *words: str) -> bool:
        if tuple(self.tokens[self.at : self.at + len(words)]) != words:
            return False
        self.at += len(words)
        return True


def _placed(claim: ThingClaim | WordClaim, place: str) -> Claim:
    if isinstance(claim, WordClaim):
        return WordClaim(claim.word, place)
    return ThingClaim(claim.shape, claim.colour, claim.size, place)
