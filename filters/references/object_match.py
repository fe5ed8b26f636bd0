"""Objects of a caption matched with those of references, one to one, by similarity: ALOHa's idea (arXiv 2404.02904)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from filters.wording.object_words import NamedObject

Similarities = npt.NDArray[np.float64]

SAME_HEAD: Final = 0.75
"""Similarity of different names with one head noun: "kitchen sink" and "bathroom sink". A convention: it lies above any
likeness of letters and below sameness."""
SPELLING: Final = 0.5
"""Highest similarity of names that share letters alone ("cat" and "car" are not alike)."""
_GRAM: Final = 3


class Similarity(Protocol):
    """How alike names of objects are."""

    def __call__(self, named: Sequence[NamedObject], references: Sequence[NamedObject]) -> Similarities:
        """(named, references), each in [0, 1]; 1 is the same."""


@dataclass(frozen=True, slots=True)
class Match:
    """What one object of a caption was matched with: the reference's name (null for none) and the similarity in [0, 1]."""

    name: str
    reference: str | None
    similarity: float


@dataclass(frozen=True, slots=True)
class ObjectMatch:
    """Of one caption: the match of each of its objects, and the least of their similarities; null where it names none."""

    score: float | None
    matches: tuple[Match, ...]


def match_objects(
    named: Sequence[NamedObject], references: Sequence[NamedObject], similarity: Similarity
) -> ObjectMatch:
    """Match each object with at most one reference so that the similarities add up to the most (Hungarian algorithm).

    The objects come once each, whatever they are called: two words of one kind are one object on either side. An object that
    is left over, or meets no reference at all, has the similarity 0. The score is the least, as ALOHa's.
    """
    ours, theirs = distinct(named), distinct(references)
    if not ours:
        return ObjectMatch(None, ())
    if not theirs:
        return ObjectMatch(0.0, tuple(Match(one.name, None, 0.0) for one in ours))
    from scipy.optimize import linear_sum_assignment

    table = similarity(ours, theirs)
    rows, columns = linear_sum_assignment(table, maximize=True)
    partner = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    matches = []
    for place, one in enumerate(ours):
        other = partner.get(place)
        value = 0.0 if other is None else float(table[place, other])
        matches.append(
            Match(one.name, theirs[other].name if other is not None and value > 0 else None, round(value, 4))
        )
    return ObjectMatch(min(match.similarity for match in matches), tuple(matches))


def distinct(objects: Sequence[NamedObject]) -> list[NamedObject]:
    """The first object of each kind, in order."""
    return list({one.canonical or one.name: one for one in reversed(objects)}.values())[::-1]


def lexical(named: Sequence[NamedObject], references: Sequence[NamedObject]) -> Similarities:
    """Without a model: 1 for one kind or name, SAME_HEAD for one head noun, else SPELLING times the share of common letter
    triples (Dice). It knows no meaning: "sofa" and "couch" are alike only where the synonyms say so.
    """
    return np.array([[_alike(one, other) for other in references] for one in named], dtype=np.float64)


def _alike(one: NamedObject, other: NamedObject) -> float:
    if one.name == other.name or (one.canonical is not None and one.canonical == other.canonical):
        return 1.0
    if one.head == other.head:
        return SAME_HEAD
    grams, others = _grams(one.name), _grams(other.name)
    return SPELLING * 2 * len(grams & others) / (len(grams) + len(others))


def _grams(name: str) -> set[str]:
    padded = f" {name} "
    return {padded[start : start + _GRAM] for start in range(max(1, len(padded) - _GRAM + 1))}


@dataclass(frozen=True)
class ByVectors:
    """Cosines of vectors of the names, cut off at 0; what is of one kind or name has 1. `vectors`: texts to (texts, width)."""

    vectors: Any

    def __call__(self, named: Sequence[NamedObject], references: Sequence[NamedObject]) -> Similarities:
        first, second = (_unit(self.vectors([one.name for one in some])) for some in (named, references))
        table: Similarities = np.clip(first @ second.T, 0.0, 1.0)
        for row, one in enumerate(named):
            for column, other in enumerate(references):
                if one.name == other.name or (one.canonical is not None and one.canonical == other.canonical):
                    table[row, column] = 1.0
        return table


def _unit(vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    values = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = np.divide(values, length, out=np.zeros_like(values), where=length > 0)
    return unit
