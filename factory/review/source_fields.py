"""What the source says of its images, to filter by: its own fields, read once when somebody first asks, and the kind of their files."""

from __future__ import annotations

import tempfile
import threading
from typing import Final

import polars as pl

from exports.storage import Storage
from factory.runs.run import Run
from factory.sources import open_source
from factory.sources.pictures import MAX_BYTES, field_text
from factory.work.work import Work

FORMAT: Final = "format"
"""PNG, JPEG, ...: known without reading the source."""


class SourceFields:
    """Values of the fields of a run's source, by the hash of the image key. Safe to use from threads.

    A field of the source is read with its whole source, pictures too where they lie beside it, and then kept: 12 bytes an image, and
    each different value once.
    """

    def __init__(self, run: Run, seed: int) -> None:
        """`seed`: of the hash of image keys."""
        self.run = run
        self._seed = seed
        self._kept: dict[str, pl.DataFrame] = {}
        self._lock = threading.Lock()

    def names(self, work: Work) -> list[str]:
        """What can be asked for."""
        return [FORMAT, *getattr(work.recipe.source, "fields", ())]

    def holding(self, work: Work, name: str, text: str) -> pl.Series:
        """Hashes of the images whose field holds this text, upper and lower case alike. Raises SourceError where the source is gone."""
        with self._lock:
            if name == FORMAT:
                values = self._formats()  # grows while the run is written
            else:
                if name not in self._kept:
                    self._kept |= self._read(work)
                values = self._kept[name]
        kinds = values["value"].unique().drop_nulls().cast(pl.String)
        wanted = kinds.filter(kinds.str.to_lowercase().str.contains(text.lower(), literal=True))
        return values.filter(pl.col("value").cast(pl.String).is_in(wanted.implode()))["image"]

    def _formats(self) -> pl.DataFrame:
        pieces = []
        for part in self.run.parts("captions"):
            scan = self.run.storage.scan([f"captions/{part}.parquet"])
            if "source_format" in scan.collect_schema():
                value = pl.col("source_format").cast(pl.Categorical).alias("value")
                pieces.append(
                    scan.select(pl.col("image_key").hash(self._seed).alias("image"), value).unique().collect()
                )
        return pl.concat([_empty(), *pieces]).unique()

    def _read(self, work: Work) -> dict[str, pl.DataFrame]:
        names = [name for name in self.names(work) if name != FORMAT]
        pieces: dict[str, list[pl.DataFrame]] = {name: [_empty()] for name in names}
        with tempfile.TemporaryDirectory(prefix="caption-factory-review-") as scratch:
            source = open_source(work.recipe, Storage(scratch))
            for shard in source.shards():
                rows = [
                    (row.key, *(field_text(row.fields.get(name)) for name in names))
                    for row in source.read(shard, MAX_BYTES)
                ]
                frame = pl.DataFrame(rows, {"key": pl.String, **dict.fromkeys(names, pl.String)}, orient="row")
                image = pl.col("key").hash(self._seed).alias("image")
                for name in names:
                    pieces[name].append(frame.select(image, pl.col(name).cast(pl.Categorical).alias("value")))
        return {name: pl.concat(found) for name, found in pieces.items()}


def _empty() -> pl.DataFrame:
    return pl.DataFrame(schema={"image": pl.UInt64, "value": pl.Categorical})
