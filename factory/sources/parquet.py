"""Parquet files with an image column: binary, struct<bytes, path>, or a path."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from factory.errors import SourceError
from factory.recipe import ParquetSource
from factory.sources.files import find_files, relative_names, stat_of
from factory.sources.source import Shard, SourceRow, clean_text, content_key

if TYPE_CHECKING:
    import pyarrow.parquet as pq

BATCH_ROWS = 64


class ParquetImages:
    """The rows of Parquet files; each row group is a shard."""

    def __init__(self, settings: ParquetSource) -> None:
        self.settings = settings

    def shards(self) -> Iterator[Shard]:
        """One shard per row group, from the files' footers."""
        urls = find_files(self.settings.path, (".parquet",))
        total = 0
        for name, url in zip(relative_names(urls), urls, strict=True):
            with _open(url) as file:
                self._check_columns(file, url)
                groups = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
            stat = stat_of(url)
            for group, rows in enumerate(groups):
                total += rows
                yield Shard(f"{name}#{group}", rows, stat, {"url": url, "group": group})
        if not total:
            raise SourceError(f"{self.settings.path}: no rows in these Parquet files")

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """The rows of a row group."""
        url = shard.spec["url"]
        named = (self.settings.image, self.settings.text, self.settings.key, *self.settings.fields)
        columns = list(dict.fromkeys(name for name in named if name))
        place = 0
        try:
            with _open(url) as file:
                batches = file.iter_batches(BATCH_ROWS, row_groups=[shard.spec["group"]], columns=columns)
                for batch in batches:
                    for record in batch.to_pylist():
                        yield self._row(record, url, f"{shard.name}/{place}", max_bytes)
                        place += 1
        except FileNotFoundError:
            raise SourceError(
                f"{url}: the source disappeared while it was read; bring it back and run again: what is done is kept"
            ) from None
        except OSError as error:
            detail = f"the rest of {shard.name} cannot be read: {type(error).__name__}: {error}"
            yield SourceRow(f"{shard.name}/(rest of the row group)", None, problem="unreadable", detail=detail[:200])

    def _row(self, record: dict[str, Any], url: str, place: str, max_bytes: int) -> SourceRow:
        text = clean_text(record.get(self.settings.text)) if self.settings.text else None
        given = record.get(self.settings.key) if self.settings.key else None
        data, problem, detail = self._bytes(record[self.settings.image], url, max_bytes)
        if self.settings.key and given is None:
            return SourceRow(
                place, None, text, problem="missing", detail=f"column '{self.settings.key}' is null; it is the key"
            )
        key = str(given) if given is not None else content_key(data) if data else place
        fields = {name: record[name] for name in self.settings.fields}
        return SourceRow(key, data, text, fields, problem=problem, detail=detail)

    def _bytes(self, value: Any, url: str, max_bytes: int) -> tuple[bytes | None, str | None, str]:
        path = None
        if isinstance(value, dict):
            path, value = value.get("path"), value.get("bytes")
        elif isinstance(value, str):
            path, value = value, None
        if value is not None:
            if len(value) > max_bytes:
                return None, "too_many_bytes", f"{len(value):,} bytes, limit {max_bytes:,}"
            return value, None, ""
        if not path:
            return None, "missing", "no image in this row"
        return self._file(path, url, max_bytes)

    def _file(self, path: str, url: str, max_bytes: int) -> tuple[bytes | None, str | None, str]:
        """The file a path column names. It must lie below the root: a table must not read the disk at will."""
        from exports.storage import Storage

        root = Storage(self.settings.root or url.rsplit("/", 1)[0])
        relative = posixpath.normpath(path.removeprefix(root.full() + "/"))
        if relative.startswith(("/", "..")) or "://" in path:
            return None, "missing", f"path outside of {root.url}; set root"[:200]
        try:
            size = root.fs.size(root.full(relative))
            if size is not None and size > max_bytes:
                return None, "too_many_bytes", f"{size:,} bytes, limit {max_bytes:,}"
            return root.read(relative), None, ""
        except OSError as error:
            return None, "unreadable", f"{relative}: {error.strerror or type(error).__name__}"[:200]

    def _check_columns(self, file: pq.ParquetFile, url: str) -> None:
        names = file.schema_arrow.names
        wanted = [("image", self.settings.image), ("text", self.settings.text), ("key", self.settings.key)]
        for role, name in [*wanted, *(("fields", name) for name in self.settings.fields)]:
            if name and name not in names:
                raise SourceError(f"{url}: no column '{name}' (source.{role}); found: {', '.join(names)}")


def _open(url: str) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from fsspec.core import url_to_fs

    fs, name = url_to_fs(url)
    try:
        return pq.ParquetFile(name, filesystem=fs)
    except pa.ArrowInvalid as error:
        raise SourceError(f"{url}: not a Parquet file ({str(error).splitlines()[0]})") from None
