"""CHAIR (Rohrbach et al., arXiv 1809.02156): which of the objects that captions name are in their images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chair:
    """Of one caption, by kinds of objects: those `named` (each as often as it is named), those of them that are
    `hallucinated`, and of those in the image the ones `recalled` and all there are, `there`.
    """

    named: tuple[str, ...]
    hallucinated: tuple[str, ...]
    recalled: frozenset[str]
    there: frozenset[str]


@dataclass(frozen=True, slots=True)
class ChairRates:
    """Of a set of captions, shares in [0, 1], null where nothing could be counted.

    `chair_s`: captions with a hallucinated object, of all captions; `chair_i`: hallucinated mentions, of all mentions;
    `recall`: kinds of objects in the images that their captions name, of all that are there.
    """

    chair_s: float | None
    chair_i: float | None
    recall: float | None


def chair(named: Sequence[str], there: Iterable[str]) -> Chair:
    """Compare the kinds that a caption names with those in its image."""
    truth = frozenset(there)
    return Chair(tuple(named), tuple(kind for kind in named if kind not in truth), truth.intersection(named), truth)


def chair_rates(captions: Sequence[Chair]) -> ChairRates:
    """The rates over captions, each mention and each object counting once (a micro average, as in the paper)."""
    mentions = sum(len(one.named) for one in captions)
    there = sum(len(one.there) for one in captions)
    return ChairRates(
        _share(sum(bool(one.hallucinated) for one in captions), len(captions)),
        _share(sum(len(one.hallucinated) for one in captions), mentions),
        _share(sum(len(one.recalled) for one in captions), there),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
