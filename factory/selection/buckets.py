"""The captions of a recipe as narrow frames with their scores, in buckets small enough for memory.

All captions of an image are in one bucket, chosen by a hash of its key, so rules about one image need one bucket.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl

from factory.runs.appended_parts import append_parts, read_part
from factory.runs.resolving import resolved
from factory.runs.run import Run
from factory.runs.tables import CAPTION_KEY
from factory.runs.with_score import with_score
from factory.scoring.sentence_table import least_by_caption
from factory.work.present import COLUMNS
from factory.work.work import Work
from filters.calibration.calibration import Calibration
from filters.wording.length_bucket import LENGTH_BUCKET, length_bucket

BUCKET_ROWS: Final = 250_000
FLUSH_ROWS: Final = 500_000
_SEED: Final = 271


@dataclass
class Buckets:
    """Frames that are visited one after the other, in memory if there is one, else in files."""

    folder: Path | None
    frames: list[pl.DataFrame] = field(default_factory=list)  # one, or none where there is a folder
    count: int = 1

    @classmethod
    def of(cls, rows: pl.DataFrame) -> Buckets:
        """One bucket in memory."""
        return cls(None, [rows])

    def __iter__(self) -> Iterator[pl.DataFrame]:
        if self.folder is None:
            yield from self.frames
            return
        for number in range(self.count):
            yield pl.read_ipc(self._file(number))

    def change(self, function: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """Replace each frame by what the function makes of it."""
        if self.folder is None:
            self.frames = [function(frame) for frame in self.frames]
            return
        for number in range(self.count):
            changed = self._file(number).with_suffix(".new")  # the old file may still be mapped into memory
            function(pl.read_ipc(self._file(number))).write_ipc(changed)
            changed.replace(self._file(number))

    def _file(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{number:06d}.arrow"


def fill_buckets(work: Work, scores: dict[str, str], calibrations: Mapping[str, Calibration], folder: Path) -> Buckets:
    """The captions of a recipe, one row per (shard, image key, view, candidate).

    Args:
        scores: filter -> fingerprint: the score columns that are wanted.
        calibrations: reference -> calibration: columns computed from these; of a calibration of sentences, that of the least.
        folder: where buckets go if one is not enough.
    """
    parts = work.run.parts("captions")
    count = max(1, math.ceil(sum(_rows(work.run, part) for part in parts) / BUCKET_ROWS))
    if count == 1:
        pieces = [_narrow(work, part, scores, calibrations) for part in parts]
        return Buckets.of(resolved(pl.concat(pieces) if pieces else _empty(scores, calibrations)))
    waiting: list[pl.DataFrame] = []
    for part in parts:
        waiting.append(_narrow(work, part, scores, calibrations))
        if sum(map(len, waiting)) >= FLUSH_ROWS or part == parts[-1]:
            place = (pl.col("image_key").hash(_SEED) % count).cast(pl.UInt32)
            append_parts(folder, pl.concat(waiting).with_columns(_place=place))
            waiting = []
    buckets = Buckets(folder, count=count)
    for number in range(count):
        whole = read_part(folder, number)
        resolved(_empty(scores, calibrations) if whole is None else whole).write_ipc(buckets._file(number))
    return buckets


def _rows(run: Run, part: str) -> int:
    return int(run.storage.scan([f"captions/{part}.parquet"]).select(pl.len()).collect().item())


def _narrow(work: Work, part: str, scores: dict[str, str], calibrations: Mapping[str, Calibration]) -> pl.DataFrame:
    """The captions of a part that belong to the recipe, without their text, with their scores."""
    text = pl.col("text").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    columns = ["shard", *CAPTION_KEY, "fingerprint", "status", "reason", "unfused", "created_ms"]
    telling = [name for name in COLUMNS if name not in columns]
    by_length = any("length" in top.by for top in work.recipe.select.keep_top.values())
    length = [length_bucket(pl.col("text")).alias(LENGTH_BUCKET)] if by_length else []
    frame = work.run.caption_part(part)
    by_sentence = {name: one for name, one in calibrations.items() if one.unit == "sentence"}
    texts = ["text"] if by_sentence else []
    rows = frame.select(*columns, *telling, text.hash(5).alias("text_hash"), *length, *texts).collect()
    for name, fingerprint in scores.items():
        rows = with_score(work.run, rows, part, name, fingerprint, name)
    rows = rows.filter(work.counts).drop(telling)
    stacks = [one.score().alias(name) for name, one in calibrations.items() if name not in by_sentence]
    least = [least_by_caption(work, part, rows, name, one).alias(name) for name, one in by_sentence.items()]
    return rows.with_columns(*stacks, *least).drop(texts)


def _empty(scores: dict[str, str], calibrations: Mapping[str, Calibration]) -> pl.DataFrame:
    schema: dict[str, Any] = dict.fromkeys(("shard", "image_key", "view"), pl.String)
    schema |= {"candidate": pl.Int16, "fingerprint": pl.String, "status": pl.String, "reason": pl.String}
    schema |= {"unfused": pl.String, "created_ms": pl.Int64, "text_hash": pl.UInt64, LENGTH_BUCKET: pl.String}
    return pl.DataFrame(schema=schema | dict.fromkeys([*scores, *calibrations], pl.Float64))
