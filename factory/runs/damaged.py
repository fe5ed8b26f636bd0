"""Files of a run that are there and cannot be read: found, and named.

Parts appear by rename and are on the disk before that, so a crash leaves none of these; a failing disk, a broken copy or
an editor does. Two depths: the end of each file, where Parquet keeps what it holds (one small read a file, at every
start), and every page of it (where something failed that nobody can explain otherwise).
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from exports.storage import Storage
from factory.errors import RunError

DAMAGED: Final = "damaged"
"""Where damaged files are kept, below the run, each under the time at which it was set aside."""
SHOWN: Final = 5
_PARTS: Final = ("captions", "quarantine", "shards", "originals", "gallery")
PARTS_BY_NAME: Final = ("scores", "answers")  # scores/<filter>/<part>, answers/<judge>/<part>
_UNDER_NAMES: Final = (*PARTS_BY_NAME, "experts")
_TAIL: Final = 65_536
_MAGIC: Final = b"PAR1"


def damaged_files(storage: Storage, whole: bool = False) -> list[str]:
    """Files of the run's tables and decisions that cannot be read, as paths below the run, sorted.

    Args:
        storage: of the run; need not exist.
        whole: read every page, not only what stands at the end of each file.

    Raises:
        OSError: the storage itself fails; that is no damage.
    """

    def is_damaged(path: str) -> bool:
        try:
            if path.endswith(".json"):
                return not _is_json(storage.read(path))
            return not (_is_readable(storage.read(path)) if whole else _has_footer(storage, path))
        except FileNotFoundError:  # merged with others, or set aside, meanwhile
            return False

    paths = sorted(_files(storage))
    with ThreadPoolExecutor(1 if storage.is_local else 16) as pool:
        return [path for path, damaged in zip(paths, pool.map(is_damaged, paths), strict=True) if damaged]


def check_files(storage: Storage, whole: bool = False) -> None:
    """Raises RunError, which names the files, where a file of the run is damaged."""
    damaged = damaged_files(storage, whole)
    if damaged:
        shown = ", ".join(storage.full(path) for path in damaged[:SHOWN])
        more = f" and {len(damaged) - SHOWN:,} more" if len(damaged) > SHOWN else ""
        raise RunError(
            f"{shown}{more}: damaged, cannot be read; give the command that made this run (factory run, factory filter) "
            f"again: it sets damaged files aside in {storage.full(DAMAGED)} and makes again what they held"
        )


def _files(storage: Storage) -> Iterator[str]:
    for table in _PARTS:
        yield from (f"{table}/{name}" for name in storage.names(table, ".parquet"))
    for table in _UNDER_NAMES:
        for name in storage.directories(table):
            files = storage.names(f"{table}/{name}")
            yield from (f"{table}/{name}/{file}" for file in files if file.endswith((".parquet", ".json")))
    yield from (name for name in storage.names() if name.endswith((".parquet", ".json")))


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _has_footer(storage: Storage, path: str) -> bool:
    """Whether a Parquet file ends as one, and its pages lie within it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    full = storage.full(path)
    size = int(storage.fs.size(full))
    tail = storage.fs.cat_file(full, start=max(0, size - _TAIL))
    if size < 12 or tail[-4:] != _MAGIC:
        return False
    (length,) = struct.unpack("<I", tail[-8:-4])
    if length + 12 > size:
        return False
    if length + 8 > len(tail):
        tail = storage.fs.cat_file(full, start=size - length - 8)
    try:
        metadata = pq.read_metadata(io.BytesIO(_MAGIC + tail[-length - 8 :]))
    except (pa.ArrowException, OSError):
        return False
    ends = 4
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            column = metadata.row_group(group).column(place)
            first = column.dictionary_page_offset or column.data_page_offset
            ends = max(ends, first + column.total_compressed_size)
    return bool(ends <= size - length - 8)


def _is_readable(data: bytes) -> bool:
    import polars as pl

    try:
        pl.read_parquet(io.BytesIO(data))
    except pl.exceptions.PolarsError:
        return False
    return True
