"""What every source gives: shards, and rows of a shard."""

from __future__ import annotations

import datetime
import decimal
import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from factory.images.reasons import Reason


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

    `data` are the original bytes. Where there are none, `problem` says why: a key of REFUSED, or 'unreadable', an error
    that may be gone another time, so that the row counts as failed and its shard is not done. `text` is the first of the
    row's captions, `more` are the others. `detail`, at most DETAIL characters, explains a problem or a text that is not there.
    """

    key: str
    data: bytes | None
    text: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    detail: str = ""
    more: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """All captions of the row."""
        return () if self.text is None else (self.text, *self.more)


DETAIL: Final = 200

REFUSED: Final[dict[str, Reason]] = {
    "missing": Reason.no_image,
    "too_many_bytes": Reason.too_many_bytes,
    "unreadable_row": Reason.unreadable_row,
    "no_key": Reason.no_key,
}
"""A row's problem -> the reason with which it is put in quarantine. Another problem is one of this moment."""


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

    # A source that knows the keys of a shard without reading its images also has `keys(shard) -> list[str] | None`, in the order
    # of the rows: then a plan can tell which of them are new.

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """The rows of a shard, streaming. Files larger than max_bytes are rows with a problem, not read.

        What cannot be read is a row with a problem too. Raises SourceError when the whole source is gone.
        """
        ...


def content_key(data: bytes) -> str:
    """The image key of an image whose source has no id of its own: 128 bits of the SHA-256 of its bytes."""
    return hashlib.sha256(data).hexdigest()[:32]


def key_text(value: Any) -> str | None:
    """The image key that a user's id stands for, else None: it is empty, or of a kind that is no id.

    Fractions are none: two large ids can have one float, and 1.0 is not what a user wrote.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="backslashreplace")
    if isinstance(value, str):
        return value.encode("utf-8", errors="backslashreplace").decode() or None
    if isinstance(value, bool) or not isinstance(value, (int, decimal.Decimal, uuid.UUID, datetime.date)):
        return None
    return str(value)


def no_key(column: str, value: Any) -> str:
    """Why `key_text` has no key for a value of the key column, for a row's detail."""
    if value is None or value in ("", b""):
        return f"column '{column}' is empty; it is the key"
    return f"column '{column}' holds a {type(value).__name__} ({value!r}), which is no id: use text or whole numbers"[
        :DETAIL
    ]


def printable(name: str) -> str:
    """A file name as text that can be stored and printed: bytes that are not UTF-8 become \\xNN, so two names stay two."""
    try:
        return name.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="backslashreplace")
    except UnicodeEncodeError:  # a lone surrogate that no file name has
        return name.encode("utf-8", errors="backslashreplace").decode()
