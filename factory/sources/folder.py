"""A folder of images, searched recursively, with captions beside them.

The folder is listed once as a stream into a Parquet listing, ordered by a hash bucket of the path, so that ten million
files are never a Python list and a file stays in its shard when others come or go. The image key is the path relative
to the folder.

Captions: `metadata.jsonl` / `metadata.csv` of a directory (with `file_name`, as in `datasets`' imagefolder) or a `.txt`
/ `.json` beside an image of the same stem. Every other file is a row; a file named in the metadata that is not there
is a row too.
"""

from __future__ import annotations

import json
import posixpath
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from exports.storage import Storage
from factory.errors import SourceError
from factory.recipe import FolderSource
from factory.sources.source import Shard, SourceRow, clean_text

if TYPE_CHECKING:
    import polars as pl

BUCKETS = 1024
BUCKETS_AT_ONCE = 32
LISTING_CHUNK = 50_000
METADATA = ("metadata.jsonl", "metadata.csv")
SIDECARS = (".txt", ".json")
TEXT_COLUMNS = ("text", "caption")
MAX_SIDECAR_BYTES = 1_000_000


class FolderImages:
    """All files below a folder."""

    def __init__(self, settings: FolderSource, scratch: Storage) -> None:
        self.settings = settings
        self.folder = Storage(settings.path)
        self.scratch = scratch
        self._near: tuple[int, pl.DataFrame] | None = None

    def shards(self) -> Iterator[Shard]:
        """One shard per hash bucket that has files; writes the listing first."""
        import polars as pl

        self._near = None
        listing = self._list()
        buckets = (
            listing.group_by("bucket")
            .agg(
                pl.len().alias("rows"),
                pl.concat_str(["path", "size"], separator=":", ignore_nulls=True).hash(7).sum().alias("stat"),
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
        columns = ["path", "size", "sidecar", "text", "listed", "fields"]
        for path, size, sidecar, text, listed, packed in rows.select(columns).iter_rows():
            fields = json.loads(packed) if packed else {}
            if not listed:
                yield SourceRow(
                    path, None, text, fields, problem="unreadable", detail="named in the metadata, but no such file"
                )
                continue
            if size is not None and size > max_bytes:
                yield SourceRow(
                    path, None, text, fields, problem="too_many_bytes", detail=f"{size:,} bytes, limit {max_bytes:,}"
                )
                continue
            try:
                data = self.folder.read(path)
                text = text or (self._sidecar(sidecar) if sidecar else None)
            except OSError as error:
                self._still_there(error)
                yield SourceRow(
                    path, None, text, fields, problem="unreadable", detail=error.strerror or type(error).__name__
                )
                continue
            yield SourceRow(path, data, text, fields)

    def _listed(self, bucket: int) -> pl.DataFrame:
        """The listing of a bucket; those that follow are read with it, since they are mostly asked for next."""
        import polars as pl

        if self._near is None or not 0 <= bucket - self._near[0] < BUCKETS_AT_ONCE:
            ahead = pl.col("bucket").is_between(bucket, bucket + BUCKETS_AT_ONCE, closed="left")
            self._near = bucket, self.scratch.scan(["listing.parquet"]).filter(ahead).collect()
        return self._near[1].filter(pl.col("bucket") == bucket)

    def _still_there(self, error: OSError) -> None:
        self.folder.fs.invalidate_cache()
        if not self.folder.exists():
            raise SourceError(
                f"{self.settings.path}: the source disappeared while it was read ({error.strerror}); bring it back and run "
                "again: what is done is kept"
            ) from None

    def _sidecar(self, path: str) -> str | None:
        with self.folder.open(path) as file:
            data = file.read(MAX_SIDECAR_BYTES)
        if path.endswith(".txt"):
            return clean_text(data)
        try:
            content = json.loads(data)
        except ValueError:
            return None
        if isinstance(content, dict):
            names = (self.settings.text,) if self.settings.text else TEXT_COLUMNS
            return clean_text(next((content[name] for name in names if name in content), None))
        return clean_text(content)

    # --- listing ---

    def _list(self) -> pl.LazyFrame:
        """Write listing.parquet (bucket, path, size, sidecar, text, listed, fields), ordered by bucket; return it lazily."""
        import polars as pl

        if not self.folder.exists():
            raise SourceError(f"{self.settings.path}: no such folder")
        if self.folder.fs.isfile(self.folder.full()):
            raise SourceError(f"{self.settings.path}: this is a file; a folder source needs a folder")
        self.scratch.make()
        self.scratch.remove_tree("files")
        metadata: list[str] = []
        for number, chunk in enumerate(self._chunks(metadata)):
            self.scratch.write_parquet(f"files/{number:06d}.parquet", chunk)
        parts = [f"files/{name}" for name in self.scratch.names("files", ".parquet")]
        if not parts:
            raise SourceError(f"{self.settings.path}: no files in this folder; is the path right?")
        files = self.scratch.scan(parts)
        images = files.filter(
            ~pl.col("path").str.to_lowercase().str.ends_with(SIDECARS[0])
            & ~pl.col("path").str.to_lowercase().str.ends_with(SIDECARS[1])
        )
        others = files.join(images.select("path"), on="path", how="anti")
        sidecars = others.join(images.select("stem").unique(), on="stem", how="semi")
        rows = files.join(sidecars.select("path"), on="path", how="anti")
        beside = sidecars.sort("path").group_by("stem").agg(pl.col("path").last().alias("sidecar"))  # .txt before .json
        listing = rows.join(beside, on="stem", how="left").with_columns(pl.lit(True).alias("listed"))
        listing = self._with_metadata(listing, metadata)
        listing = listing.with_columns(pl.col("bucket").fill_null(0)).sort("bucket", "path")
        frame = listing.select("bucket", "path", "size", "sidecar", "text", "listed", "fields").collect(
            engine="streaming"
        )
        self.scratch.write_parquet("listing.parquet", frame)
        self.scratch.remove_tree("files")
        return self.scratch.scan(["listing.parquet"])

    def _chunks(self, metadata: list[str]) -> Iterator[pl.DataFrame]:
        """The files as frames of LISTING_CHUNK rows; metadata files go to the list instead."""
        import polars as pl

        schema = {"path": pl.String, "stem": pl.String, "size": pl.Int64, "bucket": pl.Int32}
        chunk: list[tuple[str, str, int | None, int]] = []
        for raw, details in self.folder.walk():
            path = raw.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")
            if posixpath.basename(path) in METADATA:
                metadata.append(path)
                continue
            chunk.append((path, posixpath.splitext(path)[0], details.get("size"), bucket_of(path)))
            if len(chunk) == LISTING_CHUNK:
                yield pl.DataFrame(chunk, schema=schema, orient="row")
                chunk = []
        if chunk:
            yield pl.DataFrame(chunk, schema=schema, orient="row")

    def _with_metadata(self, listing: pl.LazyFrame, metadata: list[str]) -> pl.LazyFrame:
        import polars as pl

        if not metadata:
            empty = pl.lit(None, dtype=pl.String)
            return listing.with_columns(empty.alias("text"), empty.alias("fields"))
        texts = pl.concat([self._metadata(path) for path in sorted(metadata)]).unique(
            "path", keep="first", maintain_order=True
        )
        joined = listing.join(texts, on="path", how="full", coalesce=True)
        return joined.with_columns(pl.col("listed").fill_null(False))

    def _metadata(self, path: str) -> pl.LazyFrame:
        """(path, text, fields as JSON) of one metadata file. Raises SourceError where it is not as `datasets`' imagefolder wants it."""
        import polars as pl

        full = self.folder.full(path)
        try:
            with self.folder.open(path) as file:
                read = pl.read_ndjson if path.endswith(".jsonl") else pl.read_csv
                frame = read(file.read(), infer_schema_length=None)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise SourceError(f"{full}: cannot be read: {str(error).splitlines()[0]}") from None
        if "file_name" not in frame.columns:
            raise SourceError(f"{full}: has no column 'file_name' (found: {', '.join(frame.columns)})")
        wanted = (self.settings.text,) if self.settings.text else TEXT_COLUMNS
        column = next((name for name in wanted if name in frame.columns), None)
        if column is None and self.settings.text:
            raise SourceError(f"{full}: has no column '{self.settings.text}' (found: {', '.join(frame.columns)})")
        missing = [one for one in self.settings.fields if one not in frame.columns]
        if missing:
            raise SourceError(
                f"{full}: has no column '{missing[0]}' (source.fields); found: {', '.join(frame.columns)}"
            )
        fields: Any = pl.lit(None, dtype=pl.String)
        if self.settings.fields:
            fields = pl.struct(self.settings.fields).struct.json_encode()
        directory = posixpath.dirname(path)
        text: Any = pl.lit(None, dtype=pl.String)
        if column is not None:
            text = pl.col(column).list.first() if isinstance(frame.schema[column], pl.List) else pl.col(column)
        name = pl.col("file_name").cast(pl.String)
        return frame.lazy().select(
            (pl.lit(f"{directory}/") + name if directory else name).alias("path"),
            text.cast(pl.String).str.strip_chars().replace("", None).alias("text"),
            fields.alias("fields"),
        )


def bucket_of(path: str) -> int:
    """The hash bucket of a path, 0 ... BUCKETS-1; the same everywhere."""
    return zlib.crc32(path.encode()) % BUCKETS
