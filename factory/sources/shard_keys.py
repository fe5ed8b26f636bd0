"""What a shard holds, as hashes: which keys, with which bytes and texts. 24 bytes a row stand for the source in all books."""

from __future__ import annotations

import hashlib
from typing import Final

import polars as pl

from factory.runs import tables
from factory.runs.clock import now_ms
from factory.sources.source import Shard, SourceRow

DUPLICATE = "duplicate"  # stands for a fingerprint in quarantine rows that no setting can change
UNREAD: Final = 0
"""Stands for the bytes of an image that could not be read."""
_NO_TEXT: Final = 1


class ShardKeys:
    """The rows met while a shard is read: which keys came before, and what the shards table says of them."""

    def __init__(self) -> None:
        self.met: set[int] = set()
        self.keys: list[int] = []
        self.contents: list[int] = []
        self.texts: list[int] = []

    def add(self, rows: list[SourceRow]) -> tuple[list[SourceRow], list[SourceRow]]:
        """Split rows into those with a new key and those whose key came before."""
        first: list[SourceRow] = []
        repeated: list[SourceRow] = []
        for row, number in zip(rows, key_hashes(pl.Series([row.key for row in rows], dtype=pl.String)), strict=True):
            (repeated if number in self.met else first).append(row)
            self.met.add(number)
            self.keys.append(number)
            self.contents.append(content_hash(image_sha256(row)))
            self.texts.append(text_hash(row.text))
        return first, repeated

    def frame(self, shard: Shard, take: int | None = None, reading: str = "") -> pl.DataFrame:
        """The row of the shards table. `take`: only so many rows were read; `reading`: the settings they were read with."""
        row = {
            "shard": shard.name,
            "stat": shard_stat(shard, reading),
            "scheme": hash_scheme(),
            "take": take,
            "rows": len(self.keys),
            "keys": self.keys,
            "contents": self.contents,
            "texts": self.texts,
            "created_ms": now_ms(),
        }
        return pl.DataFrame([row], schema=tables.SHARDS)


def shard_stat(shard: Shard, reading: str) -> str:
    """What says whether a shard has to be read again: how it looks, and the settings it is read with."""
    return f"{shard.stat} {reading}".rstrip()


def key_hashes(keys: pl.Series) -> pl.Series:
    """64-bit hashes of image keys, as in the shards table."""
    return keys.hash(seed=99)


def hash_scheme() -> int:
    """What the hash of one known key is: differs where this version of Polars hashes otherwise."""
    return int(key_hashes(pl.Series(["caption-factory"]))[0])


def image_sha256(row: SourceRow) -> str | None:
    """SHA-256 of the image's bytes, hex; None where there are none."""
    return None if row.data is None else hashlib.sha256(row.data).hexdigest()


def content_hash(sha256: str | None) -> int:
    """The first 64 bits of a SHA-256, never UNREAD; UNREAD for none."""
    return UNREAD if sha256 is None else int(sha256[:16], 16) or 1


def content_hashes(sha256: pl.Expr) -> pl.Expr:
    """The same of a column."""
    number = sha256.str.slice(0, 16).str.to_integer(base=16, dtype=pl.UInt64, strict=False)
    return pl.when(number == 0).then(pl.lit(1, pl.UInt64)).otherwise(number.fill_null(UNREAD))


def text_hash(text: str | None) -> int:
    """64 bits of the SHA-256 of an image's own text, never 0; 1 where it has none."""
    if text is None:
        return _NO_TEXT
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8]) or 2
