"""Which of several rows counts: one rank of states, and one way to choose among rows with the same key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.runs.tables import CAPTION_KEY, Status

if TYPE_CHECKING:
    import polars as pl

STATUS_RANK = {Status.ok: 0, Status.truncated: 1, Status.failed: 2}
"""The better state first: of two rows with the same key the better counts; an image is in the state of its worst caption."""


def status_rank() -> pl.Expr:
    """The rank of the column `status`; 9 where it is none of a caption's."""
    import polars as pl

    ranks = {str(status): rank for status, rank in STATUS_RANK.items()}
    return pl.col("status").replace_strict(ranks, default=9, return_dtype=pl.Int8)


def one_per_key(rows: pl.LazyFrame, keys: list[str], best: list[pl.Expr]) -> pl.LazyFrame:
    """Of rows with the same keys the one that comes first by `best`; any of them where `best` is empty.

    Rows come twice only where a crash made a task run again, so mostly there is nothing to do: finding out costs 8 bytes
    a row, and the frame stays a scan that streams.
    """
    import numpy as np
    import polars as pl

    combined = pl.sum_horizontal(pl.col(key).hash(seed) * (2 * seed + 1) for seed, key in enumerate(keys))
    hashes = rows.select(combined.alias("_hash")).collect(engine="streaming")["_hash"].to_numpy(writable=True)
    hashes.sort()
    repeated = pl.Series("_hash", np.unique(hashes[1:][hashes[1:] == hashes[:-1]]), dtype=pl.UInt64)
    if not len(repeated):
        return rows
    marked = rows.with_columns(combined.is_in(repeated.implode()).alias("_repeated"))
    again = marked.filter("_repeated")
    if best:
        again = again.sort(best)
    again = again.unique(keys, keep="first", maintain_order=True)
    return pl.concat([marked.filter(~pl.col("_repeated")), again]).drop("_repeated")


def resolved(rows: pl.DataFrame) -> pl.DataFrame:
    """Of rows written twice by a task that ran again, the best, then the oldest: as `Run.captions` has it."""
    keys = ["shard", *CAPTION_KEY]
    if not rows.select(keys).is_duplicated().any():
        return rows
    ordered = rows.with_columns(status_rank().alias("_rank")).sort("_rank", "created_ms")
    return ordered.unique(keys, keep="first", maintain_order=True).drop("_rank")
