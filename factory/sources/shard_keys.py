"""The image keys of a shard: how many, which came twice, and a sum that tells whether all of them are done."""

from __future__ import annotations

import polars as pl

from factory.runs import tables
from factory.runs.clock import now_ms
from factory.sources.source import Shard, SourceRow

DUPLICATE = "duplicate"  # stands for a fingerprint in quarantine rows that no setting can change


class ShardKeys:
    """The keys met while a shard is read: counts, repeats, and an order-free sum that identifies the set."""

    def __init__(self) -> None:
        self.hashes: set[int] = set()
        self.rows = 0

    def add(self, rows: list[SourceRow]) -> tuple[list[SourceRow], list[SourceRow]]:
        """Split rows into those with a new key and those whose key came before."""
        first: list[SourceRow] = []
        repeated: list[SourceRow] = []
        for row, number in zip(rows, key_hashes(pl.Series([row.key for row in rows], dtype=pl.String)), strict=True):
            (repeated if number in self.hashes else first).append(row)
            self.hashes.add(number)
        self.rows += len(rows)
        return first, repeated

    def frame(self, shard: Shard) -> pl.DataFrame:
        """The row of the shards table."""
        row = {
            "shard": shard.name,
            "stat": shard.stat,
            "rows": self.rows,
            "duplicates": self.rows - len(self.hashes),
            "key_sum": sum(self.hashes) % 2**64,
            "created_ms": now_ms(),
        }
        return pl.DataFrame([row], schema=tables.SHARDS)


def key_hashes(keys: pl.Series) -> pl.Series:
    """64-bit hashes of image keys, as summed in the shards table."""
    return keys.hash(seed=99)
