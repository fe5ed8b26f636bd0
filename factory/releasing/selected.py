"""The captions of a run's selection beside the source: cut at the borders of its shards, one piece in memory at a time.

Selection, captions and scores are three tables in orders of their own. They are cut once into the same pieces on the disk,
each for some consecutive shards of the source, and joined a piece at a time, so memory does not grow with the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from factory.releasing.left_out import LeftOut
from factory.releasing.published_text import PublishedText
from factory.runs.appended_parts import append_parts, read_part
from factory.runs.resolving import resolved
from factory.runs.run import SELECTION
from factory.runs.tables import CAPTION_KEY
from factory.runs.tables import SELECTION as SELECTION_SCHEMA
from factory.runs.with_score import with_score
from factory.sources.pictures import Pictures
from factory.sources.shard_keys import key_hashes
from factory.sources.source import ListedShard
from factory.work.work import Work

PIECE_ROWS: Final = 40_000
"""Captions in a piece; one shard of the source is never cut."""
_JOIN: Final = ["shard", *CAPTION_KEY, "fingerprint"]


@dataclass(frozen=True)
class Piece:
    """Consecutive shards of the source and the captions of their images.

    `captions` is ordered by image, view (as the recipe prefers them) and candidate; its column `released` says whether the
    image goes into the release, `moved` whether it was in another shard when it was captioned.
    """

    shards: list[ListedShard]
    captions: pl.DataFrame


class Selected:
    """The images of a selection, piece by piece, from files in `scratch`.

    `images` to release, `left_out` those that are not as selected, `rewritten` captions, those `withheld`, and the `digest` of
    all pieces are known when it is made.
    """

    def __init__(self, work: Work, pictures: Pictures, scratch: Path) -> None:
        settings = work.recipe.release
        assert settings is not None
        self.work = work
        self.pictures = pictures
        self.scratch = scratch
        self.images = 0
        self.left_out = LeftOut(scratch)
        self.rewritten = 0
        self.withheld = 0
        self.published = PublishedText(settings, work.scorers)
        self.digest = hashlib.sha256()
        self._releases_dropped = settings.dropped == "include"
        self._wants_dropped = self._releases_dropped or "rejected" in settings.configs
        self._shards, self._pieces = _cut(work, pictures)
        self._make()

    def ids(self) -> Iterator[pl.Series]:
        """The keys of the images to release, a piece at a time, in the order of the source's shards."""
        for piece in self.pieces():
            yield piece.captions.filter("released")["image_key"].unique(maintain_order=True)

    def rejected(self) -> Iterator[pl.DataFrame]:
        """The captions of the images that are not to be released, a piece at a time."""
        for piece in self.pieces():
            yield piece.captions.filter(~pl.col("released")).rename({"image_key": "id"})

    def pieces(self) -> Iterator[Piece]:
        """The pieces in the order of the source."""
        for number, shards in enumerate(self._pieces):
            captions = pl.read_ipc(self._file(number))
            if captions.height:
                yield Piece(shards, captions)

    def _make(self) -> None:
        decisions, captions = self.scratch / "decisions", self.scratch / "captions"
        for folder in (decisions, captions):
            folder.mkdir()
        moved = _Moved(self.work, self.pictures, set(self._shards))
        for rows in self._decided():
            placed = self._placed(rows, moved)
            append_parts(decisions, placed.drop_nulls("_place"))
            gone = placed.filter(pl.col("_place").is_null() & pl.col("released"))
            self.left_out.add_all(gone, "image_gone")
        for part in self.work.run.parts("captions"):
            append_parts(captions, self._placed(self._with_scores(part), moved).drop_nulls("_place"))
        for number in range(len(self._pieces)):
            self._join(number, read_part(decisions, number), read_part(captions, number))

    def _decided(self) -> Iterator[pl.DataFrame]:
        """The selection of the wanted images; all captions of an image are in one row group."""
        import pyarrow.parquet as pq

        with self.work.run.storage.open(SELECTION) as file:
            table = pq.ParquetFile(file)
            for group in range(table.metadata.num_row_groups):
                rows = pl.DataFrame(table.read_row_group(group)).cast(SELECTION_SCHEMA)
                rows = rows.filter(~pl.col("reason").eq_missing(pl.lit("duplicate_key")))
                released = pl.col("kept").any().over("image_key") | pl.lit(self._releases_dropped)
                rows = rows.with_columns(released=released)
                yield rows if self._wants_dropped else rows.filter("released")

    def _with_scores(self, part: str) -> pl.DataFrame:
        rows = self.work.run.caption_part(part).collect()
        for scorer in self.work.scorers:
            rows = with_score(self.work.run, rows, part, scorer.name, scorer.fingerprint, f"score_{scorer.name}")
        return rows.filter(self.work.counts)

    def _placed(self, rows: pl.DataFrame, moved: _Moved) -> pl.DataFrame:
        """The rows with the number of their piece, null where the image is nowhere in the source."""
        place = pl.col("shard").replace_strict(self._shards, default=None, return_dtype=pl.Int32)
        placed = rows.with_columns(_place=place).with_columns(moved=pl.col("_place").is_null())
        if placed["_place"].null_count():
            placed = moved.placed(placed, self._shards)
        return placed

    def _join(self, number: int, decided: pl.DataFrame | None, captions: pl.DataFrame | None) -> None:
        if decided is None or captions is None:
            pl.DataFrame(schema={"image_key": pl.String}).write_ipc(self._file(number))
            return
        places = {name: place for place, name in enumerate(self.work.view_names)}
        rows = decided.join(resolved(captions).drop("reason", "moved"), on=_JOIN, how="inner")
        order = pl.col("view").replace_strict(places, default=len(places), return_dtype=pl.Int32)
        rows = rows.sort("image_key", order, "candidate")
        rows = self.published.prepared(rows)
        is_dropped = ~pl.col("kept").any().over("image_key")
        is_unsafe = pl.lit(self.published.unsafe_images(rows)).any().over("image_key")
        rows = rows.with_columns(unsafe=pl.col("released") & is_dropped & is_unsafe)
        self.left_out.add_all(rows.filter("unsafe"), "image_unsafe")
        rows = rows.with_columns(released=pl.col("released") & ~pl.col("unsafe")).drop("unsafe")
        self.withheld += int(rows["withheld"].sum())
        self.images += rows.filter("released")["image_key"].n_unique()
        self.rewritten += rows.filter("kept", pl.col("rewritten").is_not_null()).height
        rows.write_ipc(self._file(number))
        with self._file(number).open("rb") as file:
            while piece := file.read(1 << 20):
                self.digest.update(piece)

    def _file(self, number: int) -> Path:
        return self.scratch / f"piece-{number:06d}.arrow"


def _cut(work: Work, pictures: Pictures) -> tuple[dict[str, int], list[list[ListedShard]]]:
    """The number of the piece of each source shard, and the shards of each piece."""
    counted = work.run.storage.scan([SELECTION]).group_by("shard").len().collect(engine="streaming")
    rows = dict(counted.iter_rows())
    numbers: dict[str, int] = {}
    pieces: list[list[ListedShard]] = []
    size = 0
    for listed in pictures.shards:
        here = rows.get(listed.shard.name, 0)
        if not pieces or size + here > PIECE_ROWS:
            pieces.append([])
            size = 0
        size += here
        pieces[-1].append(listed)
        numbers[listed.shard.name] = len(pieces) - 1
    return numbers, pieces


class _Moved:
    """Where images are now whose captions were made when the source was cut otherwise: found by reading it once more.

    12 bytes for each such image.
    """

    def __init__(self, work: Work, pictures: Pictures, shards: set[str]) -> None:
        self.work = work
        self.pictures = pictures
        self._shards = shards
        self._keys: np.ndarray | None = None
        self._places = np.zeros(0, np.int32)

    def placed(self, rows: pl.DataFrame, numbers: dict[str, int]) -> pl.DataFrame:
        """The rows with `_place` put in where it is null and the image is in the source."""
        if self._keys is None:
            self._find(numbers)
        assert self._keys is not None
        hashes = key_hashes(rows["image_key"]).to_numpy()
        place = np.minimum(np.searchsorted(self._keys, hashes), max(0, len(self._keys) - 1))
        found = np.full(len(hashes), -1, np.int32)
        if len(self._keys):
            found = np.where(self._keys[place] == hashes, self._places[place], -1)
        known = pl.Series("_found", found, dtype=pl.Int32)
        there = pl.when(known >= 0).then(known)
        return rows.with_columns(_place=pl.coalesce("_place", there))

    def _find(self, numbers: dict[str, int]) -> None:
        selection = self.work.run.storage.scan([SELECTION])
        away = selection.filter(~pl.col("shard").is_in(list(self._shards))).select("image_key").unique()
        keys = np.sort(key_hashes(away.collect(engine="streaming")["image_key"]).to_numpy())
        places = np.full(len(keys), -1, np.int32)
        for listed in self.pictures.shards if len(keys) else ():
            for key in self.pictures.keys(listed.shard):
                number = key_hashes(pl.Series([key]))[0]
                place = int(np.searchsorted(keys, np.uint64(number)))
                if place < len(keys) and keys[place] == number and places[place] < 0:
                    places[place] = numbers[listed.shard.name]
        self._keys, self._places = keys, places
