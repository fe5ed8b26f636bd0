"""What people said of a run's captions: labels and decisions, the last word of each."""

from __future__ import annotations

from typing import Final

import polars as pl

from factory.runs.run import Run
from factory.runs.tables import CAPTION_KEY, DECISIONS, LABELS

LABEL_TABLE: Final = "labels"
DECISION_TABLE: Final = "decisions"
CAPTION: Final = "caption"
SENTENCE: Final = "sentence"


def last_labels(run: Run) -> pl.DataFrame:
    """The last verdict of each annotator on each caption and sentence, in the order in which they were given; without
    those that were undone.
    """
    rows = run.scan(LABEL_TABLE, LABELS).collect().sort("created_ms")
    keys = ["annotator", *CAPTION_KEY, "fingerprint", "start"]
    return rows.unique(keys, keep="last", maintain_order=True).filter(pl.col("verdict") != "undone")


def labels_for_calibration(run: Run, unit: str) -> pl.DataFrame:
    """The labels about captions or about sentences (`unit`), as `factory calibrate` takes them: one row per annotator.

    `label` is null where somebody was unsure.
    """
    rows = last_labels(run)
    is_caption = pl.col("start").is_null()
    rows = rows.filter(is_caption if unit == CAPTION else ~is_caption)
    label = pl.col("verdict").replace_strict({"right": True, "wrong": False}, default=None, return_dtype=pl.Boolean)
    return rows.select(*CAPTION_KEY, *(["start"] if unit == SENTENCE else []), label.alias("label"), "annotator")


def last_decisions(run: Run) -> pl.DataFrame:
    """The last decision on each caption, `accepted` or `rejected`."""
    rows = run.scan(DECISION_TABLE, DECISIONS).collect().sort("created_ms")
    rows = rows.unique(["shard", *CAPTION_KEY, "fingerprint"], keep="last", maintain_order=True)
    return rows.filter(pl.col("decision") != "undone")
