"""What a sentence about a scene says, apart from its wording, and how that differs from the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from factory.demo.scenes import Scene, Thing

ErrorType = Literal["shape", "colour", "size", "place", "count", "text"]
ERROR_TYPES: tuple[ErrorType, ...] = ("shape", "colour", "size", "place", "count", "text")


@dataclass(frozen=True, slots=True)
class ThingClaim:
    """That there is such a thing. A field that is None is left open: all None says only that there is some shape."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    place: str | None = None


@dataclass(frozen=True, slots=True)
class CountClaim:
    """That there are ``count`` shapes, no more and no fewer."""

    count: int


@dataclass(frozen=True, slots=True)
class WordClaim:
    """That this word is printed, at that place unless None."""

    word: str
    place: str | None = None


Claim = ThingClaim | CountClaim | WordClaim


def differences(claims: Sequence[Claim], scene: Scene) -> tuple[ErrorType, ...]:
    """The error types by which the claims of one sentence differ from the scene, in the order of ``ERROR_TYPES``;
    empty if all are true.

    Things named together must be as many different things of the scene ("a red circle and a red circle" needs two).
    They are matched with the scene's things so that as little as possible differs, first of all not the place; a
    named thing for which the scene has none left is a ``count`` error.
    """
    found: set[ErrorType] = set()
    found.update(_thing_differences([claim for claim in claims if isinstance(claim, ThingClaim)], scene.things))
    for claim in claims:
        if isinstance(claim, CountClaim) and claim.count != len(scene.things):
            found.add("count")
        elif isinstance(claim, WordClaim):
            if scene.word is None or claim.word != scene.word.word:
                found.add("text")
            elif claim.place is not None and claim.place != scene.word.place:
                found.add("place")
    return tuple(kind for kind in ERROR_TYPES if kind in found)


# Costs of a matching: every differing attribute counts, a differing place a little more so that of two readings of an
# error with equally many differences the one about the thing at the named place wins.
_ATTRIBUTE_COST, _PLACE_COST, _MISSING_COST = 10, 11, 100


def _thing_differences(claims: list[ThingClaim], things: tuple[Thing, ...]) -> Iterable[ErrorType]:
    # best[used things as bits] = (cost, error types): the cheapest way to match the claims so far.
    best: dict[int, tuple[int, frozenset[ErrorType]]] = {0: (0, frozenset())}
    for claim in claims:
        options = [(1 << i, *_thing_difference(claim, thing)) for i, thing in enumerate(things)]
        options.append((0, _MISSING_COST, frozenset({"count"})))
        following: dict[int, tuple[int, frozenset[ErrorType]]] = {}
        for used, (cost, errors) in best.items():
            for bit, extra, kinds in options:
                if used & bit:
                    continue
                total = cost + extra
                if used | bit not in following or total < following[used | bit][0]:
                    following[used | bit] = (total, errors | kinds)
        best = following
    return min(best.values(), key=lambda way: way[0])[1]


def _thing_difference(claim: ThingClaim, thing: Thing) -> tuple[int, frozenset[ErrorType]]:
    kinds: set[ErrorType] = set()
    if claim.shape is not None and claim.shape != thing.shape:
        kinds.add("shape")
    if claim.colour is not None and claim.colour != thing.colour:
        kinds.add("colour")
    if claim.size is not None and claim.size != thing.size:
        kinds.add("size")
    if claim.place is not None and claim.place != thing.place:
        kinds.add("place")
    cost = _ATTRIBUTE_COST * len(kinds - {"place"}) + (_PLACE_COST if "place" in kinds else 0)
    return cost, frozenset(kinds)
