"""Captions without images: Parquet, JSON lines, JSON, CSV, TSV, or plain text.

A shard is a row group of a Parquet file, a range of lines of a text or JSON-lines file, or a whole file of another kind.
A caption without a key of its own has a hash of its shard's name and its text, with a number where the same text comes
again in the shard. A record with several captions is one row with several candidates.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from factory.errors import SourceError
from factory.images.reasons import Reason
from factory.recipe import CaptionsSource
from factory.sources.caption_files import (
    JSON_SUFFIXES,
    SUFFIXES,
    TEXT,
    Bad,
    Record,
    WrongFile,
    cuttable,
    is_kind,
    records,
)
from factory.sources.caption_text import MOST_TEXTS, TEXT_COLUMNS, text_column, texts_of
from factory.sources.files import find_files, first_line, open_file, relative_names, size_of, stat_of
from factory.sources.parquet import DamagedFile, check_key, check_names, damaged_row, damaged_shard, gone, open_parquet
from factory.sources.source import DETAIL, Shard, SourceRow, key_text, no_key

if TYPE_CHECKING:
    from exports.storage import Storage

RANGE_BYTES: Final = 32_000_000
MAX_LINE_BYTES: Final = 16_000_000
BATCH_ROWS: Final = 16_384
LOOK_AT: Final = 100
"""Records looked at for the names of a file's columns."""

TEXTS: Final = pl.Schema(
    {
        "image_key": pl.String,
        "place": pl.Int64,  # which row of the shard, from 0; its captions share it
        "candidate": pl.Int16,  # which caption of the row, from 0
        "text": pl.String,  # null where there is none
        "reason": pl.String,  # why the row cannot be used, a Reason; null where it can
        "detail": pl.String,
        "fields": pl.String,  # JSON; null for none
    }
)


class CaptionTexts:
    """The captions of files."""

    def __init__(self, settings: CaptionsSource, scratch: Storage | None = None) -> None:
        self.settings = settings

    def shards(self) -> Iterator[Shard]:
        """Row groups, ranges of lines, or whole files. Raises SourceError where a file lacks a column."""
        empty = True
        damaged: list[Shard] = []
        urls = caption_files(self.settings.path)
        for name, url in zip(relative_names(urls), urls, strict=True):
            stat = stat_of(url)
            try:
                for shard in self._shards_of(name, url, stat):
                    empty = False
                    yield shard
            except WrongFile as error:
                raise SourceError(f"{url}: {error}") from None
            except (DamagedFile, OSError, EOFError, zlib.error) as error:
                damaged.append(damaged_shard(name, stat, url, DamagedFile(_words(url, error))))
        if empty:
            words = damaged[0].spec["damaged"] if damaged else "no captions in these files"
            raise SourceError(f"{self.settings.path}: {words}")
        yield from damaged

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """The rows of a shard one by one, without images."""
        if "damaged" in shard.spec:
            yield damaged_row(shard)
            return
        for frame in self.texts(shard):
            for rows in frame.partition_by("place", "image_key", maintain_order=True):
                row = rows.row(0, named=True)
                fields = json.loads(row["fields"]) if row["fields"] else {}
                problem = {Reason.source_unreadable: "unreadable", Reason.no_key: "no_key"}.get(
                    row["reason"], "missing"
                )
                if row["reason"] == Reason.unreadable_row:
                    problem = "unreadable_row"
                text, *more = rows["text"].to_list()
                yield SourceRow(row["image_key"], None, text, fields, problem, row["detail"] or "no image", tuple(more))

    def texts(self, shard: Shard) -> Iterator[pl.DataFrame]:
        """The captions of a shard as frames of TEXTS, of BATCH_ROWS rows or a little more; a row is never in two."""
        seen: Counter[bytes] = Counter()
        place = 0
        found = self._records(shard)
        while batch := list(islice(found, BATCH_ROWS)):
            rows: list[tuple[Any, ...]] = []
            for record in batch:
                for captions in self._rows(record, shard, place, seen):
                    rows += captions
                place += 1
            yield pl.DataFrame(rows, schema=TEXTS, orient="row")

    # --- rows ---

    def _rows(self, record: Record, shard: Shard, place: int, seen: Counter[bytes]) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of TEXTS that a record makes, mostly one; each a list of its captions. They share its place."""
        at = f"{shard.name}/{place}"
        if isinstance(record, Bad):
            reason = Reason.source_unreadable if record.where == _REST else Reason.unreadable_row
            where = f", {record.where}"
            key = at
            if record.where == _REST:
                where = ""
                key = (
                    damaged_row(shard).key if "damaged" in shard.spec else at if shard.rows else f"{shard.name}/{_REST}"
                )
            yield [(key, place, 0, None, reason, f"{shard.spec['name']}{where}: {record.why}"[:DETAIL], None)]
            return
        value = record.get(shard.spec["text"])
        texts = texts_of(value)
        fields = {name: record[name] for name in self.settings.fields if record.get(name) is not None}
        packed = json.dumps(fields, sort_keys=True, default=str) if fields else None
        key = at
        if self.settings.key:
            given = record.get(self.settings.key)
            known = key_text(given)
            if known is None:
                detail = no_key(self.settings.key, given)
                yield [(at, place, 0, texts[0] if texts else None, Reason.no_key, detail[:DETAIL], packed)]
                return
            key = known
        elif texts:
            key = _content_key(shard.name, "\n".join(texts), seen)
        if not texts:
            empty = value is None or (isinstance(value, str) and not value.strip())
            detail = "no text" if empty else f"{type(value).__name__} instead of text: {value!r}"
            yield [(key, place, 0, None, Reason.no_text, detail[:DETAIL], packed)]
            return
        yield [(key, place, number, text, None, None, packed) for number, text in enumerate(texts[:MOST_TEXTS])]
        if len(texts) > MOST_TEXTS:
            detail = f"captions {MOST_TEXTS + 1} to {len(texts):,} of one row; {MOST_TEXTS} are read at most"
            yield [(f"{key}/(more captions)", place, 0, None, Reason.unreadable_row, detail, None)]

    # --- files ---

    def _shards_of(self, name: str, url: str, stat: str) -> Iterator[Shard]:
        spec = {"url": url, "name": name}
        if url.lower().endswith(".parquet"):
            with open_parquet(url) as file:
                text = self._column(file.schema_arrow.names, url)
                check_key(url, file, self.settings.key)
                groups = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
            for group, rows in enumerate(groups):
                if rows:
                    yield Shard(f"{name}#{group}", rows, stat, {**spec, "group": group, "text": text})
            return
        size = size_of(url)
        if size == 0:
            with open_file(url):  # a pipe and a device have no bytes either; these are told
                return
        if is_kind(url, TEXT):
            text = "text"
            self._needs_no_columns(url)
        else:
            first = [
                record for record in islice(records(url, longest=MAX_LINE_BYTES), LOOK_AT) if isinstance(record, dict)
            ]
            text = self._column(list(dict.fromkeys(key for record in first for key in record)), url) if first else ""
        if size is None or not cuttable(url):
            yield Shard(name, None, stat, {**spec, "text": text})
            return
        for number, start in enumerate(range(0, size, RANGE_BYTES)):
            end = min(size, start + RANGE_BYTES)
            yield Shard(f"{name}#{number}", None, stat, {**spec, "start": start, "end": end, "text": text})

    def _column(self, names: list[str], url: str) -> str:
        """The text column. Raises SourceError where a column that the settings name is missing."""
        check_names(url, names, [("key", self.settings.key), *(("fields", name) for name in self.settings.fields)])
        found = text_column(names, self.settings.text)
        if found is None:
            wanted = (self.settings.text,) if self.settings.text else TEXT_COLUMNS[:2]
            others = "" if self.settings.text else " (nor any of " + ", ".join(TEXT_COLUMNS[2:]) + ")"
            hint = "" if self.settings.text else "; name the text column (source.text, or --text)"
            raise SourceError(
                f"{url}: no column {' or '.join(map(repr, wanted))}; found: {', '.join(names)}{others}{hint}"
            )
        return found

    def _needs_no_columns(self, url: str) -> None:
        for column in (self.settings.key, *self.settings.fields):
            if column:
                raise SourceError(f"{url}: plain text has no column '{column}', it has one caption a line")

    def _records(self, shard: Shard) -> Iterator[Record]:
        """The records of a shard; what cannot be read after them is the last one."""
        url = shard.spec["url"]
        if "damaged" in shard.spec:
            yield Bad(_REST, shard.spec["damaged"])
            return
        place = 0
        try:
            found = (
                self._parquet_records(shard)
                if "group" in shard.spec
                else records(url, shard.spec.get("start", 0), shard.spec.get("end"), MAX_LINE_BYTES)
            )
            for record in found:
                yield record
                place += 1
        except FileNotFoundError:
            raise SourceError(gone(url)) from None
        except (DamagedFile, WrongFile, OSError, EOFError, zlib.error) as error:
            lost = 1 if shard.rows is None else shard.rows - place
            for _ in range(lost):
                yield Bad(_REST, f"the rest cannot be read: {_words(url, error)}")

    def _parquet_records(self, shard: Shard) -> Iterator[Record]:
        columns = [name for name in (shard.spec["text"], self.settings.key, *self.settings.fields) if name]
        with open_parquet(shard.spec["url"]) as file:
            for batch in file.iter_batches(BATCH_ROWS, [shard.spec["group"]], list(dict.fromkeys(columns))):
                yield from batch.to_pylist()


_REST: Final = "(the rest)"


def caption_files(path: str) -> list[str]:
    """URLs of the caption files of a path; of a folder, .json files only where it has no other. Raises SourceError."""
    try:
        return find_files(path, SUFFIXES)
    except SourceError:
        try:
            return find_files(path, JSON_SUFFIXES)
        except SourceError:
            pass
        raise


def _words(url: str, error: Exception) -> str:
    return str(error) if isinstance(error, (DamagedFile, WrongFile)) else f"{url}: {first_line(error)}"


def _content_key(shard: str, text: str, seen: Counter[bytes]) -> str:
    digest = hashlib.sha256(f"{shard}\0{text}".encode()).digest()[:16]
    seen[digest] += 1
    again = f"-{seen[digest]}" if seen[digest] > 1 else ""
    return digest.hex() + again


SOURCE = CaptionTexts
