"""Short texts about a scene, each true one with a twin that is false by one attribute; and which texts are true of which
scenes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from factory.demo.claims import Claim, CountClaim, ThingClaim, WordClaim
from factory.demo.language import falsified, list_sentence, noun_phrase, scene_claims, sentence
from factory.demo.scenes import COLOURS, PLACES, ROWS, SHAPES, SIZES, WORDS, Scene


@dataclass(frozen=True, slots=True)
class Text:
    """A text, what it says, and whether that is true of the scene it was written about."""

    text: str
    claims: tuple[Claim, ...]
    true: bool


def text_pair(scene: Scene, rng: random.Random) -> tuple[Text, Text] | None:
    """A true text about the scene and the same text with one attribute of one claim changed, so that it is false; None in
    the rare case in which no such change was found.

    Mostly single sentences of detailed captions; also sentences that leave attributes open, bare noun phrases, counts,
    printed words, and lists.
    """
    facts = scene_claims(scene)
    things = [claim for claim in facts if isinstance(claim, ThingClaim)]
    words = [claim for claim in facts if isinstance(claim, WordClaim)]
    kind = rng.choices(("sentence", "open", "phrase", "count", "word", "list"), (0.42, 0.16, 0.12, 0.10, 0.12, 0.08))[0]
    claims: Sequence[Claim]
    if kind == "count":
        claims = [facts[0]]
    elif kind == "word" and words:
        claims = [words[0] if rng.random() < 0.7 else replace(words[0], place=None)]
    elif kind == "list":
        claims = [*(replace(thing, place=None) for thing in things), *(replace(word, place=None) for word in words)]
    else:
        thing = rng.choice(things)
        if kind == "phrase":
            thing = replace(thing, place=None)
        if kind == "open" or (kind == "phrase" and rng.random() < 0.3):
            kept = [field for field in ("shape", "colour", "size", "place") if getattr(thing, field) is not None]
            kept = rng.sample(kept, rng.randint(1, len(kept)))
            thing = ThingClaim(**{field: getattr(thing, field) for field in kept})
        claims = [thing]
    changed = falsified(claims, scene, rng)
    if changed is None:
        return None
    wording, style = rng.choices((0, 1, 2), (0.6, 0.2, 0.2))[0], rng.getrandbits(32)

    def written(about: Sequence[Claim]) -> str:
        if kind == "list":
            return list_sentence(about, random.Random(style))
        first = about[0]
        if kind == "phrase" and isinstance(first, ThingClaim):
            return noun_phrase(first)
        return sentence(first, wording)

    return Text(written(claims), tuple(claims), True), Text(written(changed[0]), tuple(changed[0]), False)


def truth_table(texts: Sequence[Sequence[Claim]], scenes: Sequence[Scene]) -> npt.NDArray[np.bool_]:
    """Which texts are true of which scenes: (texts, scenes).

    Each claim is taken by itself, so that "a red star and a red star" is true of a scene with one red star.
    """
    seen = _Seen(scenes)
    table = np.ones((len(texts), len(scenes)), dtype=bool)
    for row, claims in enumerate(texts):
        for claim in claims:
            table[row] &= seen.true_of(claim)
    return table


_COLOURS = tuple(COLOURS)


class _Seen:
    """Scenes as arrays: per scene and place the number of shape, colour and size, -1 for nothing there."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.shape, self.colour, self.size = (np.full((len(scenes), len(PLACES)), -1) for _ in range(3))
        self.count = np.array([len(scene.things) for scene in scenes])
        self.word, self.row = (np.full(len(scenes), -1) for _ in range(2))
        for number, scene in enumerate(scenes):
            for thing in scene.things:
                place = PLACES.index(thing.place)
                self.shape[number, place] = SHAPES.index(thing.shape)
                self.colour[number, place] = _COLOURS.index(thing.colour)
                self.size[number, place] = SIZES.index(thing.size)
            if scene.word is not None:
                self.word[number], self.row[number] = WORDS.index(scene.word.word), ROWS.index(scene.word.place)

    def true_of(self, claim: Claim) -> npt.NDArray[np.bool_]:
        match claim:
            case CountClaim(count):
                return np.asarray(self.count == count)
            case WordClaim(word, place):
                right = self.word == WORDS.index(word)
                return np.asarray(right if place is None else right & (self.row == ROWS.index(place)))
            case ThingClaim(shape, colour, size, place):
                right = self.shape >= 0
                if shape is not None:
                    right = right & (self.shape == SHAPES.index(shape))
                if colour is not None:
                    right = right & (self.colour == _COLOURS.index(colour))
                if size is not None:
                    right = right & (self.size == SIZES.index(size))
                return np.asarray(right.any(axis=1) if place is None else right[:, PLACES.index(place)])
