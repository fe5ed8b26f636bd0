"""The images of a source by key, for whoever needs them again after captioning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import polars as pl

from factory.sources.source import ImageSource, ListedShard, Shard

AT_ONCE: Final = 64
"""Images that are in memory together."""
MAX_BYTES: Final = 100_000_000
MOST_FIELD: Final = 200
"""Characters of a source's field that are looked at."""


@dataclass(frozen=True)
class Pictures:
    """A source with its shards as they were listed. Travels to workers."""

    source: ImageSource
    shards: tuple[ListedShard, ...]

    @cached_property
    def _by_name(self) -> dict[str, Shard]:
        return {listed.shard.name: listed.shard for listed in self.shards}

    def keys(self, shard: Shard) -> Iterator[str]:
        """The keys of a shard; its images are read only where nothing else tells."""
        listed = getattr(self.source, "keys", None)
        known = listed(shard) if listed is not None else None
        yield from known if known is not None else (row.key for row in self.source.read(shard, MAX_BYTES))

    def place(self, shard: str) -> int:
        """Where a shard stands in the source; behind all others where it is not there."""
        return self._places.get(shard, len(self.shards))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {listed.shard.name: place for place, listed in enumerate(self.shards)}

    def beside(self, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """The rows with the column `image` (the bytes), a few at a time, every row once; null where the image is gone.

        `rows` has `row` (its number), `shard` and `image_key`.
        """
        met: list[pl.Series] = []
        for name in rows["shard"].unique(maintain_order=True):
            if name in self._by_name:
                wanted = rows.filter(pl.col("shard") == name)
                for pictures in self._read(self._by_name[name], set(wanted["image_key"])):
                    batch = wanted.join(pictures, on="image_key", how="inner", maintain_order="left")
                    met.append(batch["row"])
                    yield batch
        left = rows.filter(~pl.col("row").is_in(pl.concat(met).implode())) if met else rows
        if left.height:
            yield left.with_columns(image=pl.lit(None, pl.Binary))

    def fields(self, rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        """`image_key` and what the source says of these images in its own fields, as text; null where it says nothing.

        `rows` has `shard` and `image_key`. Shards are read up to the last wanted image, their pictures too.
        """
        found: list[tuple[str | None, ...]] = []
        for name in rows["shard"].unique(maintain_order=True):
            if name not in self._by_name:
                continue
            keys = set(rows.filter(pl.col("shard") == name)["image_key"])
            for row in self.source.read(self._by_name[name], MAX_BYTES):
                if row.key in keys:
                    keys.discard(row.key)
                    found.append((row.key, *(field_text(row.fields.get(one)) for one in names)))
                if not keys:
                    break
        schema = {"image_key": pl.String, **dict.fromkeys(names, pl.String)}
        return pl.DataFrame(found, schema=schema, orient="row")

    def _read(self, shard: Shard, keys: set[str]) -> Iterator[pl.DataFrame]:
        """`image_key` and `image` of these keys, at most AT_ONCE at a time."""
        found: list[tuple[str, bytes | None]] = []
        for row in self.source.read(shard, MAX_BYTES):
            if row.key in keys:
                keys.discard(row.key)
                found.append((row.key, row.data))
            if found and (len(found) == AT_ONCE or not keys):
                yield pl.DataFrame(found, schema={"image_key": pl.String, "image": pl.Binary}, orient="row")
                found = []
            if not keys:
                return
        if found:
            yield pl.DataFrame(found, schema={"image_key": pl.String, "image": pl.Binary}, orient="row")


def field_text(value: Any) -> str | None:
    """A source's field as text; None where it is empty."""
    return None if value is None or value == "" else str(value)[:MOST_FIELD]
