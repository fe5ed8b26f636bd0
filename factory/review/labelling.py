"""Labels of people: what is next, how far they are, and how far they agree."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from factory.judging.agreement import Agreement
from factory.review.caption_index import CaptionIndex
from factory.review.labels_needed import Needed, labels_needed
from factory.review.sampling import items
from factory.runs.by_people import LABEL_TABLE, last_labels
from factory.runs.growing_part import GrowingPart
from factory.runs.tables import CAPTION_KEY, LABELS

VERDICTS: Final = ("right", "wrong", "unsure")
NAME_LENGTH: Final = 60
_ITEM: Final = [*CAPTION_KEY, "fingerprint", "start"]


@dataclass(frozen=True, slots=True)
class Pair:
    """How far two annotators agree on what both called right or wrong. `kappa` (Cohen 1960) is None where chance explains all."""

    first: str
    second: str
    both: int
    agreement: float
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    """Of one annotator and sample."""

    done: int
    total: int
    verdicts: Mapping[str, int]


def annotator_name(text: str) -> str:
    """A name as it is kept: one printable line of at most 60 characters; '' where nothing of it is left."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line[:NAME_LENGTH].strip()


class Labelling:
    """The label table of a run, and the samples that are drawn from it. Safe to use from threads."""

    def __init__(self, index: CaptionIndex) -> None:
        self.index = index
        self._table = GrowingPart(index.run, LABEL_TABLE, LABELS)
        self._samples: dict[tuple[str, int], pl.DataFrame] = {}

    def sample(self, unit: str, count: int) -> pl.DataFrame:
        """What is to be labelled, in the order in which it is asked; the same for every annotator and after every start."""
        key = (unit, count)
        if key not in self._samples:
            self._samples[key] = items(self.index, count, unit)
        return self._samples[key]

    def next_item(self, unit: str, count: int, annotator: str) -> dict[str, Any] | None:
        """The first item without a verdict of this annotator; None where all have one."""
        left = self._left(self.sample(unit, count), annotator)
        return left.row(0, named=True) if left.height else None

    def progress(self, unit: str, count: int, annotator: str) -> Progress:
        """How far somebody is with a sample."""
        sample = self.sample(unit, count)
        mine = self._mine(annotator).join(sample, on=_ITEM, how="semi", nulls_equal=True)
        counts = dict(mine["verdict"].value_counts().iter_rows())
        return Progress(mine.height, sample.height, {verdict: int(counts.get(verdict, 0)) for verdict in VERDICTS})

    def needed(self, unit: str, count: int) -> Needed:
        """How many more labels a promised precision takes, by all people's labels of a sample; contradictions set aside."""
        sample = self.sample(unit, count)
        said = last_labels(self.index.run).filter(pl.col("verdict").is_in(["right", "wrong"]))
        each = said.group_by(_ITEM).agg(
            (pl.col("verdict") == "right").all().alias("label"), pl.col("verdict").n_unique().alias("verdicts")
        )
        once = each.filter(pl.col("verdicts") == 1)
        rows = sample.select(*_ITEM, "shard").join(once.drop("verdicts"), on=_ITEM, how="inner", nulls_equal=True)
        return labels_needed(self.index, rows)

    def label(self, unit: str, count: int, annotator: str, item: Mapping[str, Any], verdict: str) -> bool:
        """Write a verdict on an item of the sample, onto the disk. False where the sample has no such item."""
        sample = self.sample(unit, count)
        same = [pl.col(name).eq_missing(pl.lit(item[name], sample.schema[name])) for name in _ITEM]
        found = sample.filter(same)
        if verdict not in VERDICTS or found.is_empty():
            return False
        row = found.select(_ITEM).row(0, named=True)
        self._table.append([{**row, "verdict": verdict, "annotator": annotator}])
        return True

    def undo(self, unit: str, annotator: str) -> dict[str, Any] | None:
        """Take back the last verdict of somebody about captions or sentences; returns what it was about."""
        is_caption = pl.col("start").is_null()
        mine = self._mine(annotator).filter(is_caption if unit == "caption" else ~is_caption)
        if mine.is_empty():
            return None
        last = mine.tail(1).row(0, named=True)
        self._table.append([{**last, "verdict": "undone"}])
        return last

    def annotators(self) -> dict[str, int]:
        """Name -> labels that stand, most first."""
        counts = last_labels(self.index.run)["annotator"].value_counts(sort=True)
        return {str(name): int(number) for name, number in counts.iter_rows()}

    def pairs(self) -> list[Pair]:
        """Every two annotators who labelled the same, with their agreement."""
        return agreement(last_labels(self.index.run))

    def _mine(self, annotator: str) -> pl.DataFrame:
        return last_labels(self.index.run).filter(pl.col("annotator") == annotator)

    def _left(self, sample: pl.DataFrame, annotator: str) -> pl.DataFrame:
        return sample.join(self._mine(annotator), on=_ITEM, how="anti", nulls_equal=True, maintain_order="left")


def agreement(labels: pl.DataFrame) -> list[Pair]:
    """Of the labels of several annotators (`last_labels`): how far each two agree on what both called right or wrong."""
    said = labels.filter(pl.col("verdict").is_in(["right", "wrong"])).select(
        "annotator", *_ITEM, (pl.col("verdict") == "right").alias("right")
    )
    pairs = []
    for first, second in itertools.combinations(sorted(said["annotator"].unique()), 2):
        mine, other = (said.filter(pl.col("annotator") == name).drop("annotator") for name in (first, second))
        both = mine.join(other, on=_ITEM, how="inner", nulls_equal=True, suffix="_second")
        if both.is_empty():
            continue
        yes, no = pl.col("right"), pl.col("right_second")
        counts = both.select(
            (yes & no).sum().alias("both_yes"), (~yes & ~no).sum().alias("both_no"),
            (yes & ~no).sum().alias("only_first"), (~yes & no).sum().alias("only_second"),
        ).row(0, named=True)  # fmt: skip
        found = Agreement((first, second), **counts)
        pairs.append(Pair(first, second, both.height, found.agreement, found.kappa))
    return pairs
