"""Labels of images from a file: which objects are in each, by the image's key."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import polars as pl

from filters.contract.filter import FilterError

KEY: Final = "image_key"
READERS: Final[dict[str, Callable[[Any], pl.DataFrame]]] = {
    ".parquet": pl.read_parquet,
    ".csv": pl.read_csv,
    ".jsonl": pl.read_ndjson,
    ".ndjson": pl.read_ndjson,
}
_DELIMITER: Final = re.compile(r"[,;|\n]")


def names_in(value: object) -> list[str]:
    """The names in a value of a table: a list (of names, or of objects with `name`, `label` or `category`), a JSON list as
    text, or names with , ; | or line ends between them. Null is none. Raises ValueError for anything else.
    """
    if value is None:
        return []
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            return names_in(json.loads(value))
        return [name.strip() for name in _DELIMITER.split(value) if name.strip()]
    if not isinstance(value, list | tuple):
        raise ValueError(f"{value!r} is no list of names")
    return [name for one in value if (name := _name(one))]


def _name(one: object) -> str:
    if isinstance(one, dict):
        one = next((one[key] for key in ("name", "label", "category") if one.get(key) is not None), None)
    if one is None or isinstance(one, str):
        return (one or "").strip()
    raise ValueError(f"{one!r} is no name of an object")


def read_table(path: str, asked_by: str) -> pl.DataFrame:
    """A local table by its ending (.parquet, .csv, .jsonl, .ndjson). Raises FilterError, which begins with `asked_by`."""
    kind = Path(path).suffix.lower()
    if kind not in READERS:
        raise FilterError(
            f"{asked_by}: {path!r}: a table comes as {', '.join(READERS)}, not as {kind or 'a file without ending'!r}."
        )
    try:
        return READERS[kind](path)
    except FileNotFoundError:
        raise FilterError(f"{asked_by}: there is no file {path!r}.") from None
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise FilterError(
            f"{asked_by}: {path!r} cannot be read as {kind}: {str(error).partition(chr(10))[0][:200]}."
        ) from error


def names_by_key(table: pl.DataFrame, column: str, path: str, asked_by: str) -> dict[str, list[str]]:
    """The names in a column by image key; rows of one key are put together. Raises FilterError."""
    for needed in (KEY, column):
        if needed not in table.columns:
            raise FilterError(f"{asked_by}: {path!r} has no column {needed!r}; found: {', '.join(table.columns)}.")
    found: dict[str, list[str]] = {}
    for place, (key, value) in enumerate(table.select(KEY, column).iter_rows()):
        if key is None:
            raise FilterError(f"{asked_by}: {path!r}: row {place + 1} has no {KEY}.")
        try:
            found.setdefault(str(key), []).extend(names_in(value))
        except ValueError as error:
            raise FilterError(f"{asked_by}: {path!r}: row {place + 1}, {column!r}: {error}.") from None
    return found


class Labels:
    """The labels file of a filter: `by_key`, the names of the objects in each image; `names`, all of them."""

    def __init__(self, by_key: dict[str, list[str]]) -> None:
        self.by_key = by_key
        self.names = frozenset(name for some in by_key.values() for name in some)


def labels(path: str, column: str, asked_by: str) -> Labels:
    """The labels in a file, read once in a process while it does not change; in memory as a whole."""
    return _labels(path, column, asked_by, file_stamp(path, asked_by))


def sha256(path: str, asked_by: str) -> str:
    """Of a file, kept while it does not change. Raises FilterError where it cannot be read."""
    return _sha256(path, file_stamp(path, asked_by))


def file_stamp(path: str, asked_by: str) -> tuple[int, int]:
    """What changes when a file does: its time and size. Raises FilterError where there is none."""
    try:
        stat = Path(path).stat()
    except OSError:
        raise FilterError(f"{asked_by}: there is no file {path!r}.") from None
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=2)
def _labels(path: str, column: str, asked_by: str, stamp: tuple[int, int]) -> Labels:
    return Labels(names_by_key(read_table(path, asked_by), column, path, asked_by))


@lru_cache(maxsize=8)
def _sha256(path: str, stamp: tuple[int, int]) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
