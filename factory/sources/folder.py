"""A folder of images, searched recursively, with captions beside them.

The folder is listed once as a stream into a Parquet listing, ordered by a hash bucket of the path, so that ten million
files are never a Python list and a file stays in its shard when others come or go. The image key is the path relative
to the folder.

Captions: `metadata.jsonl` / `metadata.csv` of a directory (with `file_name`, as in `datasets`' imagefolder; several lines
of one file are several captions of it) or files beside an image: `a.txt`, `a.caption`, `a.json` or `a.jpg.txt` of `a.jpg`.
Every other file is a row; a file named in the metadata that is not there, and a line of it that cannot be read, are rows too.
"""

from __future__ import annotations

import json
import posixpath
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from exports.storage import Storage
from factory.errors import SourceError
from factory.recipe import FolderSource
from factory.sources.caption_files import Bad, records
from factory.sources.caption_text import decode_text, parse_json, text_column, texts_of
from factory.sources.files import answers, file_system, first_line, is_local, mark_of
from factory.sources.inside import Root, Unusable
from factory.sources.source import DETAIL, Shard, SourceRow, printable

if TYPE_CHECKING:
    import polars as pl

BUCKETS = 1024
BUCKETS_AT_ONCE = 32
LISTING_CHUNK = 50_000
METADATA = ("metadata.jsonl", "metadata.csv")
SIDECARS: Final = (".txt", ".caption", ".json")
"""Ends of files with captions, best first, upper or lower case."""
MAX_SIDECAR_BYTES = 1_000_000


class FolderImages:
    """All files below a folder."""

    def __init__(self, settings: FolderSource, scratch: Storage) -> None:
        file_system(settings.path)  # says what is missing, where it cannot be opened
        self.settings = settings
        self.folder = Storage(settings.path)
        self.root = Root(settings.path)
        self.scratch = scratch
        self._near: tuple[int, pl.DataFrame] | None = None

    def shards(self) -> Iterator[Shard]:
        """One shard per hash bucket that has files; writes the listing first."""
        import polars as pl

        self._near = None
        listing = self._list()
        content = [
            pl.col("path"),
            pl.col("mark"),
            pl.col("marks"),
            pl.col("texts").list.join("\n"),
            pl.col("fields"),
            pl.col("trouble"),
        ]
        buckets = (
            listing.group_by("bucket")
            .agg(
                pl.len().alias("rows"),
                pl.concat_str(content, separator=":", ignore_nulls=True).hash(7).sum().alias("stat"),
            )
            .sort("bucket")
            .collect(engine="streaming")
        )
        if not buckets.height:
            raise SourceError(f"{self.settings.path}: no files in this folder; is the path right?")
        for bucket, rows, stat in buckets.iter_rows():
            yield Shard(f"bucket-{bucket:04d}", rows, str(stat), {"bucket": bucket})

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """The files of a bucket, in order of their paths."""
        rows = self._listed(shard.spec["bucket"])
        columns = ["path", "at", "sidecars", "texts", "listed", "fields", "trouble"]
        for path, at, sidecars, texts, listed, packed, trouble in rows.select(columns).iter_rows():
            fields = json.loads(packed) if packed else {}
            text, *more = texts or (None,)
            if trouble:
                yield SourceRow(path, None, problem="unreadable_row", detail=trouble)
                continue
            if not listed:
                detail = "named in the metadata, but no such file"
                yield SourceRow(path, None, text, fields, "unreadable", detail, tuple(more))
                continue
            try:
                data = self.root.read(_path(at), max_bytes)
            except Unusable as unusable:
                if unusable.problem == "unreadable":
                    self._still_there(unusable)
                yield SourceRow(path, None, text, fields, unusable.problem, unusable.detail, tuple(more))
                continue
            detail = ""
            if text is None:
                (text, *more), detail = self._beside([_path(one) for one in sidecars or ()])
            yield SourceRow(path, data, text, fields, None, detail, tuple(more))

    def keys(self, shard: Shard) -> list[str]:
        """The paths of a bucket."""
        return self._listed(shard.spec["bucket"])["path"].to_list()

    def _listed(self, bucket: int) -> pl.DataFrame:
        """The listing of a bucket; those that follow are read with it, since they are mostly asked for next."""
        import polars as pl

        if self._near is None or not 0 <= bucket - self._near[0] < BUCKETS_AT_ONCE:
            ahead = pl.col("bucket").is_between(bucket, bucket + BUCKETS_AT_ONCE, closed="left")
            self._near = bucket, self.scratch.scan(["listing.parquet"]).filter(ahead).collect()
        return self._near[1].filter(pl.col("bucket") == bucket)

    def _still_there(self, error: Unusable) -> None:
        self.folder.fs.invalidate_cache()
        if not self.folder.exists():
            raise SourceError(
                f"{self.settings.path}: the source disappeared while it was read ({error.detail}); bring it back and run "
                "again: what is done is kept"
            ) from None

    # --- captions beside an image ---

    def _beside(self, sidecars: list[str]) -> tuple[tuple[Any, ...], str]:
        """All captions in the files beside an image, at least (None,), and why there are none."""
        texts: list[str] = []
        why = "no text: no file with a caption beside it, and no line of a metadata file names it"
        for path in sidecars:
            if texts and path.lower().endswith(".json"):
                break  # what is beside the caption: licences, sizes, scores
            try:
                texts += self._sidecar(path)
                why = f"no text in {printable(path)}"
            except Unusable as unusable:
                why = f"no text: {printable(path)}: {unusable.detail}"
            except ValueError as error:
                why = f"no text: {printable(path)}: {error}"
        return tuple(dict.fromkeys(texts)) or (None,), "" if texts else why[:DETAIL]

    def _sidecar(self, path: str) -> tuple[str, ...]:
        """Captions of a file. Raises Unusable or ValueError where it cannot be read."""
        data = self.root.read(path, MAX_SIDECAR_BYTES)
        if not path.lower().endswith(".json"):
            return texts_of(decode_text(data))
        content = parse_json(data)
        if isinstance(content, dict):
            column = text_column(content, self.settings.text)
            return texts_of(content[column]) if column else ()
        return texts_of(content)

    # --- listing ---

    def _list(self) -> pl.LazyFrame:
        """Write listing.parquet, ordered by bucket; return it lazily.

        Columns: bucket, path (as text), at (its bytes), mark (size and time or tag), sidecars (bytes of their paths, best first),
        marks (theirs), texts (of the
        metadata), listed (there is such a file), fields (JSON), trouble (why a line of the metadata cannot be read).
        """
        import polars as pl

        path = self.settings.path
        try:
            answers(self.folder.fs, self.folder.full(), path)
            if not self.folder.exists():
                raise SourceError(f"{printable(path)}: no such folder")
            if self.folder.fs.isfile(self.folder.full()):
                raise SourceError(f"{printable(path)}: this is a file; a folder source needs a folder")
        except SourceError:
            raise
        except Exception as error:  # every storage library has exceptions of its own
            raise SourceError(f"{printable(path)}: cannot be reached: {first_line(error)}") from None
        self.scratch.make()
        self.scratch.remove_tree("files")
        metadata: list[str] = []
        try:
            for number, chunk in enumerate(self._chunks(metadata)):
                self.scratch.write_parquet(f"files/{number:06d}.parquet", chunk)
        except PermissionError as error:
            raise SourceError(f"{error.filename or path}: may not be listed; allow it, or move it away") from None
        parts = [f"files/{name}" for name in self.scratch.names("files", ".parquet")]
        if not parts:
            raise SourceError(f"{printable(path)}: no files in this folder; is the path right?")
        files = self.scratch.scan(parts)
        images = files.filter(pl.col("rank").is_null()).select("path", "stem")
        captions = files.filter(pl.col("rank").is_not_null()).select("path", "at", "stem", "rank", "mark")
        beside = pl.concat(
            [  # a.jpg.txt belongs to a.jpg, a.txt to every image named a
                captions.join(images, left_on="stem", right_on="path", how="inner").select(
                    pl.col("stem").alias("image"), "path", "at", "rank", "mark"
                ),
                captions.join(images.rename({"path": "image"}), on="stem", how="inner").select(
                    "image", "path", "at", pl.col("rank") + len(SIDECARS), "mark"
                ),
            ]
        )
        sidecars = (
            beside.sort("rank", "path")
            .group_by("image")
            .agg(
                sidecars=pl.col("at").unique(maintain_order=True),
                marks=pl.concat_str("path", "mark", separator="=").sort().str.join(";"),
            )
        )
        rows = files.join(beside.select("path").unique(), on="path", how="anti")
        listing = rows.join(sidecars, left_on="path", right_on="image", how="left").with_columns(listed=True)
        listing = self._with_metadata(listing, metadata)
        listing = listing.with_columns(pl.col("bucket").fill_null(0)).sort("bucket", "path")
        columns = ["bucket", "path", "at", "mark", "sidecars", "marks", "texts", "listed", "fields", "trouble"]
        frame = listing.select(columns).collect(engine="streaming")
        self.scratch.write_parquet("listing.parquet", frame)
        self.scratch.remove_tree("files")
        return self.scratch.scan(["listing.parquet"])

    def _chunks(self, metadata: list[str]) -> Iterator[pl.DataFrame]:
        """The files as frames of LISTING_CHUNK rows; metadata files go to the list instead."""
        import polars as pl

        schema = {
            "path": pl.String,
            "at": pl.Binary,
            "stem": pl.String,
            "rank": pl.Int32,
            "mark": pl.String,
            "bucket": pl.Int32,
        }
        chunk: list[tuple[Any, ...]] = []
        for raw, details in self.folder.walk():
            path = printable(raw)
            if posixpath.basename(path) in METADATA:
                metadata.append(raw)
                continue
            stem, end = posixpath.splitext(path)
            rank = SIDECARS.index(end.lower()) if end.lower() in SIDECARS else None
            at = raw.encode("utf-8", errors="surrogateescape")
            chunk.append((path, at, stem, rank, mark_of(details), bucket_of(path)))
            if len(chunk) == LISTING_CHUNK:
                yield pl.DataFrame(chunk, schema=schema, orient="row")
                chunk = []
        if chunk:
            yield pl.DataFrame(chunk, schema=schema, orient="row")

    # --- metadata ---

    def _with_metadata(self, listing: pl.LazyFrame, metadata: list[str]) -> pl.LazyFrame:
        import polars as pl

        number = 0
        for path in sorted(metadata):
            for chunk in self._metadata(path):
                self.scratch.write_parquet(f"files/metadata/{number:06d}.parquet", chunk)
                number += 1
        if not number:
            return listing.with_columns(
                texts=pl.lit(None, pl.List(pl.String)), fields=pl.lit(None, pl.String), trouble=pl.lit(None, pl.String)
            )
        lines = self.scratch.scan(
            [f"files/metadata/{name}" for name in self.scratch.names("files/metadata", ".parquet")]
        )
        named = (
            lines.group_by("path", maintain_order=True)
            .agg(
                texts=pl.col("texts").explode(empty_as_null=False, keep_nulls=False).unique(maintain_order=True),
                fields=pl.col("fields").first(),
                trouble=pl.col("trouble").first(),
            )
            .with_columns(texts=pl.when(pl.col("texts").list.len() > 0).then("texts"))
        )
        joined = listing.join(named, on="path", how="full", coalesce=True)
        return joined.with_columns(pl.col("listed").fill_null(False))

    def _metadata(self, path: str) -> Iterator[pl.DataFrame]:
        """(path, texts, fields as JSON, trouble) of the lines of a metadata file.

        Raises:
            SourceError: none of its lines has a column that is needed.
        """
        import polars as pl

        schema = pl.Schema(
            {"path": pl.String(), "texts": pl.List(pl.String()), "fields": pl.String(), "trouble": pl.String()}
        )
        shown = printable(path)
        names: set[str] = set()
        chunk: list[tuple[Any, ...]] = []
        try:
            self.root.check(path)
            full = self.folder.full(path)
            for record in records(full if is_local(self.folder.fs) else self.folder.fs.unstrip_protocol(full)):
                if isinstance(record, Bad):
                    chunk.append((f"{shown}, {record.where}", None, None, f"{record.where}: {record.why}"[:DETAIL]))
                else:
                    names |= record.keys()
                    chunk.append(self._line(record, path, shown))
                if len(chunk) == LISTING_CHUNK:
                    yield pl.DataFrame(chunk, schema=schema, orient="row")
                    chunk = []
        except (OSError, EOFError, zlib.error, Unusable) as error:
            detail = error.detail if isinstance(error, Unusable) else first_line(error)
            chunk.append((f"{shown}, the rest", None, None, f"the rest cannot be read: {detail}"[:DETAIL]))
        if chunk:
            yield pl.DataFrame(chunk, schema=schema, orient="row")
        if names:
            self._check_columns(printable(self.folder.full(path)), names)

    def _line(self, record: dict[str, Any], path: str, shown: str) -> tuple[Any, ...]:
        name = record.get("file_name")
        if not isinstance(name, str) or not name.strip():
            content = json.dumps(record, default=str)
            return f"{shown}, {content[:80]}", None, None, f"a line without file_name: {content}"[:DETAIL]
        above = self.folder.full().rstrip("/") + "/"
        inside = name.removeprefix(above) if name.startswith(above) else posixpath.join(posixpath.dirname(path), name)
        column = text_column(record, self.settings.text)
        texts = list(texts_of(record[column])) if column else None
        wanted = {one: record.get(one) for one in self.settings.fields}
        fields = json.dumps(wanted, default=str) if wanted else None
        return printable(posixpath.normpath(inside)), texts, fields, None

    def _check_columns(self, full: str, names: set[str]) -> None:
        found = ", ".join(sorted(names))
        if "file_name" not in names:
            raise SourceError(f"{full}: has no column 'file_name' (found: {found})")
        if self.settings.text and self.settings.text not in names:
            raise SourceError(f"{full}: has no column '{self.settings.text}' (found: {found})")
        missing = [one for one in self.settings.fields if one not in names]
        if missing:
            raise SourceError(f"{full}: has no column '{missing[0]}' (source.fields); found: {found}")


def _path(at: bytes) -> str:
    return at.decode("utf-8", errors="surrogateescape")


def bucket_of(path: str) -> int:
    """The hash bucket of a path, 0 ... BUCKETS-1; the same everywhere."""
    return zlib.crc32(path.encode()) % BUCKETS


SOURCE = FolderImages
