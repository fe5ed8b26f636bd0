"""How many more labels a promised precision takes, told while they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from factory.review.caption_index import CaptionIndex, identities
from factory.runs.tables import CAPTION_KEY
from filters import FilterError
from filters.calibration.binomial import rows_needed
from filters.calibration.calibrate import calibrate
from filters.calibration.promised_precision import fewest_rows

TARGET: Final = 0.9
CONFIDENCE: Final = 0.95
LEAST: Final = 10
"""With fewer labels nothing can be said but how many could be enough."""


@dataclass(frozen=True, slots=True)
class Needed:
    """Of `have` labels: how many `more` prove that the captions kept by the score `score` are right with a share of `target`.

    more: 0 where they prove it already; None where no number would, by what is known. score: the filter that takes fewest, "" for all
    captions without a score.
    """

    target: float
    have: int
    more: int | None
    score: str = ""
    is_guess: bool = False  # too few labels: the fewest that could be enough


def labels_needed(index: CaptionIndex, labels: pl.DataFrame, target: float = TARGET) -> Needed:
    """By labels about captions or sentences.

    Args:
        labels: image_key, view, candidate, fingerprint, shard, start (null: about the caption), label (right or not); one row an image.
    """
    have = labels.height
    least = fewest_rows(target, CONFIDENCE)
    right = int(labels["label"].sum())
    if have < LEAST or right == have:
        return Needed(target, have, max(0, least - have), is_guess=least > have)
    found = [_by(labels, target)]
    if labels["start"].null_count() == have:
        found += _by_scores(index, labels, target)
    known = [one for one in found if one.more is not None]
    return min(known, key=lambda one: one.more or 0) if known else found[0]


def _by(labels: pl.DataFrame, target: float) -> Needed:
    have, right = labels.height, int(labels["label"].sum())
    needed = rows_needed((right + 0.5) / (have + 1), target, CONFIDENCE)
    return Needed(target, have, None if needed is None else max(0, needed - have))


def _by_scores(index: CaptionIndex, labels: pl.DataFrame, target: float) -> list[Needed]:
    named = labels.select("label", identities(["shard", *CAPTION_KEY, "fingerprint"]).alias("identity"))
    scores = [f"score_{name}" for name in index.filters]
    rows = named.join(index.rows().select("identity", *scores), on="identity", how="inner")
    found = []
    for name, column in zip(index.filters, scores, strict=True):
        scored = rows.select("label", pl.col(column).cast(pl.Float64).fill_nan(None).alias("score")).drop_nulls()
        try:
            whole = calibrate(scored, "score", target_precision=target, confidence=CONFIDENCE).all
        except FilterError:  # one class only, or nothing scored
            continue
        needed = scored.height if whole.kept is not None else whole.labels_needed
        found.append(Needed(target, labels.height, None if needed is None else max(0, needed - scored.height), name))
    return found
