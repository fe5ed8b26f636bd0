"""One Parquet file of a release: row groups of a fixed share of images, the images in plain pages.

What makes a new version cheap to publish is here (docs/decisions/0010-shards.md): images are neither compressed nor
dictionary-encoded, and where a row group ends depends on the images alone, so that other captions leave their bytes as
they are.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from exports.columns import DICTIONARY
from exports.manifest import canonical_json, sha256_hex
from exports.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

PAGE_BYTES: Final = 8_000_000
ROW_OVERHEAD: Final = 1_000
"""What a row counts in a row group beside its image, so that rows without images end groups too."""


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """What the manifest says of a file of rows."""

    path: str
    bytes: int
    sha256: str
    rows: int
    row_groups: int
    ids_sha256: str | None  # of the ids in their order, each followed by a line feed

    def entry(self, schema_sha256: str) -> dict[str, Any]:
        """The manifest's entry."""
        known = {"path": self.path, "bytes": self.bytes, "sha256": self.sha256, "rows": self.rows}
        known |= {"row_groups": self.row_groups, "schema_sha256": schema_sha256}
        return known | ({"ids_sha256": self.ids_sha256} if self.ids_sha256 else {})


def group_bounds(sizes: list[int], group_bytes: int) -> list[tuple[int, int]]:
    """Where row groups start and end: about `group_bytes` each, a rest of less than half of it goes to the last one.

    `sizes` are the bytes of each row's image. With 64 MB a group, groups have 32 to 96 MB unless one image is larger.
    """
    bounds: list[tuple[int, int]] = []
    start = size = 0
    for place, one in enumerate(sizes):
        size += one + ROW_OVERHEAD
        if size >= group_bytes:
            bounds.append((start, place + 1))
            start, size = place + 1, 0
    if start < len(sizes):
        if bounds and size < group_bytes // 2:
            bounds[-1] = (bounds[-1][0], len(sizes))
        else:
            bounds.append((start, len(sizes)))
    return bounds


def write_shard_file(
    storage: Storage, path: str, groups: Iterator[pa.Table], schema: pa.Schema, has_images: bool
) -> WrittenFile:
    """Write row groups as one Parquet file with a page index.

    On a local disk the file is on the disk when this returns. Memory is that of two row groups.
    """
    import pyarrow.parquet as pq

    storage.fs.makedirs(posixpath.dirname(storage.full(path)), exist_ok=True)
    leaves = _leaves(schema)
    plain = [name for name in leaves if has_images and name.endswith(".bytes")]
    ids = hashlib.sha256()
    rows = count = 0
    with storage.open(path, "wb") as file, _HashingFile(file, storage.is_local) as hashing:
        with pq.ParquetWriter(
            hashing,
            schema,
            compression={name: "none" if name in plain else "zstd" for name in leaves},
            use_dictionary=[name for name in leaves if name.rsplit(".", 1)[-1] in DICTIONARY],
            write_statistics=[name for name in leaves if name not in plain],
            data_page_size=PAGE_BYTES if plain else None,
            write_batch_size=64 if plain else None,
            write_page_index=True,
        ) as writer:
            for table in groups:
                writer.write_table(table, row_group_size=max(1, table.num_rows))
                rows += table.num_rows
                count += 1
                if "id" in table.column_names:
                    ids.update("".join(f"{name}\n" for name in table["id"].to_pylist()).encode())
        digest, size = hashing.finish()
    return WrittenFile(path, size, digest, rows, count, ids.hexdigest() if "id" in schema.names else None)


def schema_sha256(schema: pa.Schema) -> str:
    """SHA-256 of column names and types."""
    return sha256_hex(canonical_json({field.name: str(field.type) for field in schema}))


def _leaves(schema: pa.Schema) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema):
        pass
    parquet = pq.ParquetFile(sink.getvalue()).schema
    return [parquet.column(number).path for number in range(len(parquet))]


class _HashingFile:
    """A file that knows its size and SHA-256 when it is finished, so that nothing is read twice. Hashes in a thread."""

    def __init__(self, file: Any, is_local: bool) -> None:
        self.file = file
        self.is_local = is_local
        self.size = 0
        self.digest = hashlib.sha256()
        self.closed = False
        self._pool = ThreadPoolExecutor(1)
        self._pending: list[Future[None]] = []

    def __enter__(self) -> _HashingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def write(self, data: Any) -> int:
        piece = data if isinstance(data, bytes) else bytes(data)
        while len(self._pending) > 2:
            self._pending.pop(0).result()
        self._pending.append(self._pool.submit(self.digest.update, piece))
        self.size += len(piece)
        self.file.write(piece)
        return len(piece)

    def finish(self) -> tuple[str, int]:
        """The digest and the size; a local file is on the disk then."""
        self.file.flush()
        if self.is_local:
            os.fsync(self.file.fileno())
        for one in self._pending:
            one.result()
        return self.digest.hexdigest(), self.size

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        self.closed = True
