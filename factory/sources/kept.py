"""Rows of a source that were read a moment ago, kept while they are few: a small run reads each image once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from factory.sources.source import ImageSource, Shard, SourceRow

KEPT_BYTES: Final = 128_000_000
"""Of images, in one process. What is beyond is read again, as if nothing was kept."""


def _alone(source: ImageSource) -> ImageSource:
    return source


class KeptRows:
    """A source whose shards are kept once they were read to their end. What is kept stays in this process."""

    def __init__(self, source: ImageSource) -> None:
        self.source = source
        self._rows: dict[tuple[str, str, int], list[SourceRow]] = {}
        self._room = KEPT_BYTES

    def __reduce__(self) -> Any:
        return _alone, (self.source,)  # a worker reads a shard once

    def shards(self) -> Iterator[Shard]:
        """As the source's."""
        return self.source.shards()

    def keys(self, shard: Shard) -> list[str] | None:
        """As the source's; None where it has no such list."""
        listed = getattr(self.source, "keys", None)
        return None if listed is None else listed(shard)

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """As the source's; from memory where this shard was read with the same bound before."""
        name = (shard.name, shard.stat, max_bytes)
        if name in self._rows:
            yield from self._rows[name]
            return
        rows: list[SourceRow] | None = []
        size = 0
        for row in self.source.read(shard, max_bytes):
            size += len(row.data or b"") + len(row.text or "") + 200
            if rows is not None:
                rows.append(row)
                if size > self._room:
                    rows = None
            yield row
        # A row that could not be read now may be read the next time.
        if rows is not None and size <= self._room and not any(row.problem == "unreadable" for row in rows):
            self._rows[name] = rows
            self._room -= size
