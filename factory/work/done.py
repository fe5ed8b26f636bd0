"""What a run has finished: images that need not be read again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from factory.runs.done_set import DoneSet
from factory.runs.tables import Status
from factory.work.views import ReadyView
from factory.work.work import Work


def finished_images(work: Work, fingerprints: list[str] | None = None) -> pl.LazyFrame:
    """(shard, image_key, view, fingerprint, failed) of every image and view with captions of these fingerprints; of those
    of the first try, if unset.

    `failed` is true while any of its candidates has failed: it will be tried again.
    """
    rows = work.run.captions(work.view_fingerprints if fingerprints is None else fingerprints)
    keys = ["shard", "image_key", "view", "fingerprint"]
    return rows.group_by(keys).agg((pl.col("status") == Status.failed).any().alias("failed"))


def done_set(work: Work, views: Sequence[ReadyView] | None = None) -> DoneSet:
    """What need not be read again: captioned (image, view, fingerprint), and quarantined images under view ''.

    Of these views; of the recipe's own, if unset.
    """
    fingerprints = (
        work.view_fingerprints if views is None else sorted({one for ready in views for one in ready.fingerprints})
    )

    def frames() -> Iterator[pl.DataFrame]:
        done = finished_images(work, fingerprints).filter(~pl.col("failed"))
        yield done.select("image_key", "view", "fingerprint").collect()
        refused = work.run.quarantine(work.quarantine_fingerprints).with_columns(pl.lit("").alias("view"))
        yield refused.select("image_key", "view", "fingerprint").collect()

    return DoneSet.of(frames())
