"""What every source gives: shards, and rows of a shard."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Shard:
    """A piece of a source that one worker reads.

    `name` is stable as long as the source's files are; `rows` is how many rows it holds, None where only reading tells;
    `stat` changes when its content may have changed ('' where that cannot be told).
    """

    name: str
    rows: int | None
    stat: str
    spec: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One image as the source has it.

    `data` are the original bytes. Where there are none, `problem` says why: 'missing' (no image in this row),
    'too_many_bytes' or 'unreadable' (an error of this moment; worth another try).
    """

    key: str
    data: bytes | None
    text: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class ListedShard:
    """A shard with what is known of it. `take` limits the rows read (None: all); `complete` if nothing is left."""

    shard: Shard
    rows: int | None
    take: int | None
    complete: bool


class ImageSource(Protocol):
    """A source. Pickled to the workers, so it holds settings, not open files."""

    def shards(self) -> Iterator[Shard]:
        """All shards, lazily, in a stable order. Raises SourceError when the source is missing or empty."""
        ...

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """The rows of a shard, streaming. Files larger than max_bytes are rows with a problem, not read.

        Raises SourceError when the whole source is gone.
        """
        ...


def content_key(data: bytes) -> str:
    """The image key of an image whose source has no id of its own: 128 bits of the SHA-256 of its bytes."""
    return hashlib.sha256(data).hexdigest()[:32]


def clean_text(value: Any) -> str | None:
    """The original text of a row: a non-empty string, else None (lists give their first text)."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if not isinstance(value, str):
        return None
    return value.strip().encode("utf-8", errors="replace").decode() or None
