"""Parquet files with an image column: binary, struct<bytes, path>, a path, base64, or a list of these."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from factory.errors import SourceError
from factory.recipe import ParquetSource
from factory.sources.caption_text import text_column, texts_of
from factory.sources.files import file_system, find_files, first_line, is_local, open_regular, relative_names, stat_of
from factory.sources.image_cells import CAPTIONS_ALONE, no_id_type, no_image_type, read_cell
from factory.sources.inside import Root
from factory.sources.source import DETAIL, Shard, SourceRow, content_key, key_text, no_key

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from exports.storage import Storage

BATCH_ROWS = 64


class ParquetImages:
    """The rows of Parquet files; each row group is a shard, and so is a file that cannot be opened."""

    def __init__(self, settings: ParquetSource, scratch: Storage | None = None) -> None:
        self.settings = settings
        self._root: tuple[str, Root] | None = None

    def shards(self) -> Iterator[Shard]:
        """One shard per row group, from the files' footers."""
        urls = find_files(self.settings.path, (".parquet",))
        total = 0
        damaged: list[Shard] = []
        for name, url in zip(relative_names(urls), urls, strict=True):
            stat = stat_of(url)
            try:
                with open_parquet(url) as file:
                    text = self._columns(file, url)
                    groups = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
            except DamagedFile as error:
                damaged.append(damaged_shard(name, stat, url, error))
                continue
            for group, rows in enumerate(groups):
                total += rows
                if rows:
                    yield Shard(f"{name}#{group}", rows, stat, {"url": url, "group": group, "text": text})
        if not total:
            words = damaged[0].spec["damaged"] if damaged else "no rows in these Parquet files"
            raise SourceError(f"{self.settings.path}: {words}")
        yield from damaged

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """The rows of a row group. From a damaged page on, every row of the group is one that cannot be read."""
        if "damaged" in shard.spec:
            yield damaged_row(shard)
            return
        url = shard.spec["url"]
        named = (self.settings.image, shard.spec.get("text"), self.settings.key, *self.settings.fields)
        columns = list(dict.fromkeys(name for name in named if name))
        place = 0
        try:
            with open_parquet(url) as file:
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[shard.spec["group"]], columns=columns):
                    for record in batch.to_pylist():
                        yield self._row(record, shard, place, max_bytes)
                        place += 1
        except FileNotFoundError:
            raise SourceError(gone(url)) from None
        except DamagedFile as error:
            yield from rest_of(shard, place, str(error))

    def keys(self, shard: Shard) -> list[str] | None:
        """The keys of a row group; None where they are made of the images, or one of them is missing."""
        if self.settings.key is None or "damaged" in shard.spec:
            return None
        try:
            with open_parquet(shard.spec["url"]) as file:
                given = file.read_row_group(shard.spec["group"], columns=[self.settings.key]).column(0).to_pylist()
        except (FileNotFoundError, DamagedFile):
            return None
        keys = [key_text(one) for one in given]
        return None if None in keys else [one for one in keys if one is not None]

    def _row(self, record: dict[str, Any], shard: Shard, number: int, max_bytes: int) -> SourceRow:
        place = f"{shard.name}/{number}"
        column = shard.spec.get("text")
        text, *more = texts_of(record.get(column)) or (None,) if column else (None,)
        cell = read_cell(record[self.settings.image], self._root_of(shard.spec["url"]), max_bytes)
        fields = {name: record[name] for name in self.settings.fields}
        key = content_key(cell.data) if cell.data else place
        if self.settings.key:
            given = record.get(self.settings.key)
            known = key_text(given)
            if known is None:
                return SourceRow(place, None, text, problem="no_key", detail=no_key(self.settings.key, given))
            key = known
        return SourceRow(key, cell.data, text, fields, cell.problem, cell.detail, tuple(t for t in more if t))

    def _root_of(self, url: str) -> Root:
        folder = self.settings.root or url.rsplit("/", 1)[0]
        if self._root is None or self._root[0] != folder:
            self._root = folder, Root(folder)
        return self._root[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_root": None}

    def _columns(self, file: pq.ParquetFile, url: str) -> str | None:
        """The text column, None where there is none. Raises SourceError where a column is missing or of a wrong type."""
        schema = file.schema_arrow
        wanted = [("image", self.settings.image), ("text", self.settings.text), ("key", self.settings.key)]
        check_names(url, schema.names, [*wanted, *(("fields", name) for name in self.settings.fields)])
        if words := no_image_type(schema.field(self.settings.image).type):
            raise SourceError(
                f"{url}: column '{self.settings.image}' (source.image) holds {words}, no images; {CAPTIONS_ALONE}"
            )
        check_key(url, file, self.settings.key)
        return text_column(schema.names, self.settings.text)


class DamagedFile(Exception):
    """A Parquet file, or a part of it, that cannot be read; says why."""


@contextmanager
def open_parquet(url: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file, and inside of `with` every error of reading it, as DamagedFile; FileNotFoundError stays itself."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fs, name = file_system(url)
    try:
        # By handle: Arrow takes no path whose name is not UTF-8.
        with open_regular(name) if is_local(fs) else fs.open(name, "rb") as handle, pq.ParquetFile(handle) as file:
            yield file
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, EOFError) as error:
        raise DamagedFile(f"{url}: not a Parquet file, or a damaged one ({first_line(error)})") from None


def check_names(url: str, names: list[str], wanted: list[tuple[str, str | None]]) -> None:
    """Raises SourceError for the first (role, column) whose column is not there."""
    for role, name in wanted:
        if name and name not in names:
            raise SourceError(f"{url}: no column '{name}' (source.{role}); found: {', '.join(names)}")


def check_key(url: str, file: pq.ParquetFile, key: str | None) -> None:
    """Raises SourceError where the key column is of a type that is no id."""
    if key and (words := no_id_type(file.schema_arrow.field(key).type)):
        raise SourceError(f"{url}: column '{key}' (source.key) holds {words}")


def damaged_shard(name: str, stat: str, url: str, error: Exception) -> Shard:
    """The shard of a file that cannot be opened: one row that says so."""
    return Shard(f"{name}#(damaged)", 1, stat, {"url": url, "name": name, "damaged": str(error)})


def damaged_row(shard: Shard) -> SourceRow:
    """The row of a damaged shard."""
    detail = shard.spec["damaged"][:DETAIL]
    return SourceRow(f"{shard.spec['name']}/(the whole file)", None, problem="unreadable", detail=detail)


def rest_of(shard: Shard, place: int, words: str) -> Iterator[SourceRow]:
    """The rows of a row group from `place` on, none of which can be read."""
    for number in range(place, shard.rows or place + 1):
        yield SourceRow(f"{shard.name}/{number}", None, problem="unreadable", detail=words[:DETAIL])


def gone(url: str) -> str:
    """What to say of a file that was there when the run began."""
    return f"{url}: the source disappeared while it was read; bring it back and run again: what is done is kept"


SOURCE = ParquetImages
