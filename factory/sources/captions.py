"""Captions without images: Parquet, JSON lines, CSV, or plain text.

A shard is a row group of a Parquet file, a range of lines of a text or JSON-lines file, or a whole CSV or .gz file.
A caption without a key of its own has a hash of its shard's name and its text, with a number where the same text comes
again in the shard.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Final

import polars as pl

from factory.errors import SourceError
from factory.images.reasons import Reason
from factory.recipe import CaptionsSource
from factory.sources.files import find_files, relative_names, stat_of
from factory.sources.source import Shard, SourceRow, clean_text

if TYPE_CHECKING:
    import pyarrow.parquet as pq

SUFFIXES: Final = (".parquet", ".jsonl", ".ndjson", ".csv", ".txt", ".jsonl.gz", ".ndjson.gz", ".csv.gz", ".txt.gz")
TEXT_COLUMNS: Final = ("text", "caption")
RANGE_BYTES: Final = 32_000_000
MAX_LINE_BYTES: Final = 16_000_000
BATCH_ROWS: Final = 16_384

TEXTS: Final = pl.Schema(
    {
        "image_key": pl.String,
        "text": pl.String,  # null where there is none
        "reason": pl.String,  # why the row cannot be used, a Reason; null where it can
        "detail": pl.String,
        "fields": pl.String,  # JSON; null for none
    }
)


class CaptionTexts:
    """The captions of files."""

    def __init__(self, settings: CaptionsSource) -> None:
        self.settings = settings

    def shards(self) -> Iterator[Shard]:
        """Row groups, ranges of lines, or whole files. Raises SourceError where a file lacks a column."""
        urls = find_files(self.settings.path, SUFFIXES)
        empty = True
        for name, url in zip(relative_names(urls), urls, strict=True):
            for shard in self._shards_of(name, url, stat_of(url)):
                empty = False
                yield shard
        if empty:
            raise SourceError(f"{self.settings.path}: no captions in these files")

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """The rows of a shard one by one, without images."""
        for frame in self.texts(shard):
            for row in frame.iter_rows(named=True):
                fields = json.loads(row["fields"]) if row["fields"] else {}
                yield SourceRow(row["image_key"], None, row["text"], fields, "missing", row["detail"] or "no image")

    def texts(self, shard: Shard) -> Iterator[pl.DataFrame]:
        """The rows of a shard as frames of TEXTS, BATCH_ROWS rows or fewer each."""
        seen: Counter[bytes] = Counter()
        place = 0
        for records in self._records(shard):
            yield self._frame(records, shard, place, seen)
            place += len(records)

    # --- rows ---

    def _frame(
        self, records: list[dict[str, Any] | str], shard: Shard, place: int, seen: Counter[bytes]
    ) -> pl.DataFrame:
        rows = [self._row(record, shard, place + number, seen) for number, record in enumerate(records)]
        return pl.DataFrame(rows, schema=TEXTS, orient="row")

    def _row(self, record: dict[str, Any] | str, shard: Shard, place: int, seen: Counter[bytes]) -> tuple[Any, ...]:
        """A row of TEXTS. A record that is a string is a line that cannot be read: why."""
        at = f"{shard.name}/{place}"
        if isinstance(record, str):
            return at, None, Reason.unreadable_row, record[:200], None
        text = clean_text(record.get(shard.spec["text"]))
        fields = {name: record[name] for name in self.settings.fields if record.get(name) is not None}
        packed = json.dumps(fields, sort_keys=True, default=str) if fields else None
        if self.settings.key:
            given = record.get(self.settings.key)
            if given is None:
                return at, text, Reason.no_key, f"column '{self.settings.key}' is empty", packed
            key = str(given)
        elif text is None:
            key = at
        else:
            key = _content_key(shard.name, text, seen)
        if text is None:
            found = record.get(shard.spec["text"])
            detail = "no text" if found is None else f"{type(found).__name__} instead of text: {found!r}"
            return key, None, Reason.no_text, detail[:200], packed
        return key, text, None, None, packed

    # --- files ---

    def _shards_of(self, name: str, url: str, stat: str) -> Iterator[Shard]:
        if url.endswith(".parquet"):
            with _open_parquet(url) as file:
                text = self._column(file.schema_arrow.names, url)
                for group in range(file.metadata.num_row_groups):
                    rows = file.metadata.row_group(group).num_rows
                    if rows:
                        yield Shard(f"{name}#{group}", rows, stat, {"url": url, "group": group, "text": text})
            return
        size = _size(url)
        if not size:
            return
        if url.endswith(".txt") or url.endswith(".txt.gz"):
            text = "text"
            self._needs_columns(url)
        else:
            text = self._column(_header(url), url)
        if url.endswith((".gz", ".csv")):
            yield Shard(name, None, stat, {"url": url, "text": text})
            return
        for number, start in enumerate(range(0, size, RANGE_BYTES)):
            end = min(size, start + RANGE_BYTES)
            yield Shard(f"{name}#{number}", None, stat, {"url": url, "start": start, "end": end, "text": text})

    def _column(self, names: list[str], url: str) -> str:
        """The text column. Raises SourceError where a column that the settings name is missing."""
        for role, column in [("key", self.settings.key), *(("fields", name) for name in self.settings.fields)]:
            if column and column not in names:
                raise SourceError(f"{url}: no column '{column}' (source.{role}); found: {', '.join(names)}")
        wanted = (self.settings.text,) if self.settings.text else TEXT_COLUMNS
        found = next((name for name in wanted if name in names), None)
        if found is None:
            hint = "" if self.settings.text else "; name the text column (source.text, or --text)"
            raise SourceError(f"{url}: no column {' or '.join(map(repr, wanted))}; found: {', '.join(names)}{hint}")
        return found

    def _needs_columns(self, url: str) -> None:
        for column in (self.settings.key, *self.settings.fields):
            if column:
                raise SourceError(f"{url}: plain text has no column '{column}', it has one caption a line")

    def _records(self, shard: Shard) -> Iterator[list[dict[str, Any] | str]]:
        url = shard.spec["url"]
        try:
            if "group" in shard.spec:
                yield from self._parquet_records(shard)
            elif url.endswith((".csv", ".csv.gz")):
                yield from _batches(_csv_records(url))
            else:
                parse = _text_record if url.endswith((".txt", ".txt.gz")) else _json_record
                yield from _batches(parse(line) for line in _lines(shard))
        except FileNotFoundError:
            raise SourceError(
                f"{url}: the source disappeared while it was read; bring it back and run again: what is done is kept"
            ) from None

    def _parquet_records(self, shard: Shard) -> Iterator[list[dict[str, Any] | str]]:
        columns = [name for name in (shard.spec["text"], self.settings.key, *self.settings.fields) if name]
        with _open_parquet(shard.spec["url"]) as file:
            for batch in file.iter_batches(BATCH_ROWS, [shard.spec["group"]], list(dict.fromkeys(columns))):
                yield batch.to_pylist()


def _content_key(shard: str, text: str, seen: Counter[bytes]) -> str:
    digest = hashlib.sha256(f"{shard}\0{text}".encode()).digest()[:16]
    seen[digest] += 1
    again = f"-{seen[digest]}" if seen[digest] > 1 else ""
    return digest.hex() + again


def _batches(records: Iterator[dict[str, Any] | str]) -> Iterator[list[dict[str, Any] | str]]:
    batch: list[dict[str, Any] | str] = []
    for record in records:
        batch.append(record)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _text_record(line: bytes) -> dict[str, Any] | str:
    if len(line) > MAX_LINE_BYTES:
        return f"a line of more than {MAX_LINE_BYTES:,} bytes"
    return {"text": line.decode("utf-8", errors="replace")}


def _json_record(line: bytes) -> dict[str, Any] | str:
    if len(line) > MAX_LINE_BYTES:
        return f"a line of more than {MAX_LINE_BYTES:,} bytes"
    try:
        record = json.loads(line.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    return record if isinstance(record, dict) else f"{type(record).__name__} instead of a JSON object"


def _csv_records(url: str) -> Iterator[dict[str, Any] | str]:
    import csv
    import io

    csv.field_size_limit(MAX_LINE_BYTES)
    with _open(url) as file:
        lines = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline=""))
        header = next(lines)
        while True:
            try:
                values = next(lines)
            except StopIteration:
                return
            except csv.Error as error:
                yield str(error)
                continue
            if len(values) == len(header):
                yield dict(zip(header, values, strict=True))
            elif values:
                yield f"{len(values)} fields, but the header has {len(header)}"


def _lines(shard: Shard) -> Iterator[bytes]:
    """The lines that begin in a shard's range, without line ends; blank lines of JSON files left out.

    Of a line longer than MAX_LINE_BYTES only its beginning, one byte longer than allowed.
    """
    url, start, end = shard.spec["url"], shard.spec.get("start", 0), shard.spec.get("end")
    keep_blank = url.endswith((".txt", ".txt.gz"))
    with _open(url) as file:
        if start:
            file.seek(start - 1)
            _skip_line(file)
        while end is None or file.tell() < end:
            line = file.readline(MAX_LINE_BYTES + 1)
            if not line:
                return
            if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                _skip_line(file)
            stripped = line.rstrip(b"\r\n")
            if stripped or keep_blank:
                yield stripped


def _skip_line(file: IO[bytes]) -> None:
    while (rest := file.readline(1 << 20)) and not rest.endswith(b"\n"):
        pass


def _header(url: str) -> list[str]:
    """Columns of a CSV or JSON-lines file, from its first line. Raises SourceError where it has none."""
    if url.endswith((".csv", ".csv.gz")):
        import csv
        import io

        with _open(url) as file:
            try:
                return next(csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")))
            except (StopIteration, csv.Error) as error:
                raise SourceError(f"{url}: no CSV file with a header line ({error})") from None
    with _open(url) as file:
        record = _json_record(file.readline(MAX_LINE_BYTES + 1))
    if isinstance(record, str):
        raise SourceError(f"{url}: its first line is no JSON object: {record}")
    return list(record)


def _open(url: str) -> Any:
    """The file as a stream of plain bytes."""
    from fsspec.core import url_to_fs

    fs, name = url_to_fs(url)
    file = fs.open(name, "rb")
    return gzip.open(file, "rb") if url.endswith(".gz") else file


def _size(url: str) -> int:
    from fsspec.core import url_to_fs

    fs, name = url_to_fs(url)
    return int(fs.size(name) or 0)


def _open_parquet(url: str) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from fsspec.core import url_to_fs

    fs, name = url_to_fs(url)
    try:
        return pq.ParquetFile(name, filesystem=fs)
    except pa.ArrowInvalid as error:
        raise SourceError(f"{url}: not a Parquet file ({str(error).splitlines()[0]})") from None
