"""A caption's sentences, and what a filter found about each of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from filters.wording.words import SENTENCE

if TYPE_CHECKING:
    from filters.contract.filter import Filter

_SENTENCE: Final = re.compile(rf"(?:{SENTENCE})[.!?。！？]*[\"”'’)\]]*")

SENTENCES: Final = pl.List(pl.Struct({"start": pl.UInt32(), "end": pl.UInt32(), "score": pl.Float64()}))
"""The type of the evidence column `sentences`, which every filter that judges sentences by themselves returns: where each
lies in the text, in characters, the end exclusive, and its score in [0, 1] or null where it could not be judged."""


SENTENCE_LOGPROBS: Final = pl.List(
    pl.Struct(
        {"start": pl.UInt32(), "end": pl.UInt32(), "tokens": pl.UInt32(), "mean": pl.Float64(), "min": pl.Float64()}
    )
)
"""The type of the column `sentence_logprobs`: where each sentence lies, as in SENTENCES, how many tokens it has, and the
mean and the least natural log-probability of these, as the captioner wrote them."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence with its end mark, and where it lies in its text, in characters, the end exclusive."""

    text: str
    start: int
    end: int


def sentences(text: str) -> list[Sentence]:
    """The sentences of a text that hold a letter or digit, in order."""
    found = []
    for match in _SENTENCE.finditer(text):
        whole = match.group()
        said = whole.strip()
        if any(mark.isalnum() for mark in said):
            start = match.start() + len(whole) - len(whole.lstrip())
            found.append(Sentence(said, start, start + len(said)))
    return found


def by_sentence(found: Sequence[Sentence], ends: Sequence[int], values: Sequence[float]) -> list[list[float]]:
    """The values of each sentence's tokens; `ends`: where each token ends in the text. A token is of the sentence it ends in."""
    parts: list[list[float]] = [[] for _ in found]
    place = 0
    for end, value in zip(ends, values, strict=True):
        while place < len(found) and end > found[place].end:
            place += 1
        if place < len(found) and end > found[place].start:
            parts[place].append(value)
    return parts


def judges_sentences(filter_: Filter) -> bool:
    """Whether a filter gives each sentence a score of its own, in the evidence column `sentences`."""
    return filter_.evidence.get("sentences") == SENTENCES


def judged(found: Sequence[Sentence], scores: Sequence[float | None]) -> list[dict[str, object]]:
    """A value of SENTENCES."""
    return [{"start": one.start, "end": one.end, "score": score} for one, score in zip(found, scores, strict=True)]
