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
from concurrent.futures import Executor, Future
from contextlib import ExitStack
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
    storage: Storage, path: str, groups: Iterator[pa.Table], schema: pa.Schema, has_images: bool, pool: Executor
) -> Future[WrittenFile]:
    """Write row groups as one Parquet file with a page index.

    Memory is that of two row groups. A local file is written when this returns; `pool` hashes it and brings it onto the
    disk while the next one is written, and the result says so.
    """
    import pyarrow.parquet as pq

    storage.fs.makedirs(posixpath.dirname(storage.full(path)), exist_ok=True)
    leaves = _leaves(schema)
    plain = [name for name in leaves if has_images and name.endswith(".bytes")]
    ids = hashlib.sha256()
    rows = count = 0
    with ExitStack() as stack:
        sink: Any = storage.full(path)
        if not storage.is_local:
            sink = stack.enter_context(_HashingFile(stack.enter_context(storage.open(path, "wb"))))
        with pq.ParquetWriter(
            sink,
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
    ids_sha256 = ids.hexdigest() if "id" in schema.names else None

    def finish() -> WrittenFile:
        size, digest = _settled(sink) if storage.is_local else (sink.size, sink.digest.hexdigest())
        return WrittenFile(path, size, digest, rows, count, ids_sha256)

    return pool.submit(finish)


def _settled(path: str) -> tuple[int, str]:
    """Size and SHA-256 of a local file, which is on the disk then."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        os.fsync(file.fileno())
        return file.tell(), digest.hexdigest()


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
    """A file that knows its size and SHA-256, so that nothing is fetched again."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.size = 0
        self.digest = hashlib.sha256()
        self.closed = False

    def __enter__(self) -> _HashingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def write(self, data: Any) -> int:
        piece = data if isinstance(data, bytes) else bytes(data)
        self.digest.update(piece)
        self.size += len(piece)
        self.file.write(piece)
        return len(piece)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        self.closed = True
