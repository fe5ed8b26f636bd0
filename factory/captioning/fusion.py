"""Fusing: captions of some views and the alt-text in, one caption out, by a language model that is shown no image.

The captions that an image's fusion is made from lie in several parts of the run. They are gathered once, in buckets by the hash of
the image's key, and each bucket is given to the engine piece by piece. What needs no engine (an input is missing, or two of them contradict
each other) is written by the tasks that read, so that no engine starts for it.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from factory.captioning.caption_missing import Made
from factory.captioning.captioner import Captioner, failed_row
from factory.captioning.merging import MergingParts
from factory.captioning.stages import CaptionBatches
from factory.captioning.unfused import fallback_row, inputs_contradict, mark_unfused
from factory.engines.contract import Captions
from factory.engines.engine_actor import Duty
from factory.engines.ray_errors import seals_errors
from factory.engines.room import EngineRoom
from factory.engines.stage import engine_reports
from factory.engines.watched_rows import start_watch
from factory.runs import tables
from factory.runs.appended_parts import append_parts, read_part
from factory.runs.clock import now_ms
from factory.runs.hash_sets import is_among
from factory.runs.resolving import status_rank
from factory.runs.run import Run
from factory.runs.tables import Failure, Status, Unfused
from factory.sources.shard_keys import key_hashes
from factory.work.fusions import inputs_hashes, standing, text_hashes
from factory.work.prompts import fill_inputs
from factory.work.views import EngineGroup, ReadyView
from factory.work.work import Work

if TYPE_CHECKING:
    import pyarrow as pa

    from factory.images.item import ImageItem
    from factory.judging.answer_fields import AskedRow
    from factory.progress import Progress
    from factory.work.fusions import FusionDone

BUCKET_ROWS: Final = 50_000
TASK_ROWS: Final = 256
_KEPT: Final = tuple(name for name in tables.CAPTIONS if name not in ("reasoning", "prompt", "inputs"))
"""Of the row of an input: what its copy may need."""


def fuse_missing(
    work: Work, ready: ReadyView, done: FusionDone, made: Made, progress: Progress, room: EngineRoom
) -> None:
    """Make the captions of one fusion that are missing. Its inputs are made.

    Args:
        work: settled on the captions that there are.
        ready: the fusion.
        done: what of it is done, as `fusion_books` has it.
        made: where what is made is counted.

    Raises:
        EngineError: the engine cannot work at all. RunError: the run directory cannot be written.
    """
    if not len(done.open):
        return
    progress.phase(f"fusing {ready.name}: {len(done.open):,} images")
    ray = room.ray
    watch = start_watch(ray)
    duty = Duty(FuseBatches, {"ready": ready, "run": work.run, "watch": watch})
    pool = partial(room.pool, work.engine_of(ready))
    with MergingParts(work.run) as merging:
        for rows in gathered_inputs(work, ready, done):
            read = ReadInputs(ray.put(rows.to_arrow()), ready, work.run)
            tasks = [{"start": start} for start in range(0, rows.height, TASK_ROWS)]
            for batch in engine_reports(ray, tasks, read, pool, duty, used=room.used):
                made.add(batch)
                merging.written()
                progress.update(made.images, made.tokens, *made.deaths_with(ray.get(watch.state.remote())))
    made.engine_deaths += ray.get(watch.state.remote())[0]


def gathered_inputs(work: Work, ready: ReadyView, done: FusionDone) -> Iterator[pl.DataFrame]:
    """The images to fuse, a bucket at a time: `image_key`, `shard`, `inputs_hash`, and the row of each input, a struct `input_<place>`."""
    views = ready.view.made_from
    count = max(1, math.ceil(len(done.open) * len(views) / BUCKET_ROWS))
    beside = work.run.storage.full() if work.run.storage.is_local else None
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=beside) as scratch:
        folder = Path(scratch)
        for part in work.run.parts("captions"):
            rows = work.part(part).filter(pl.col("view").is_in(views)).select(*_KEPT).collect()
            rows = rows.with_columns(key=key_hashes(rows["image_key"]), rank=status_rank())
            rows = rows.filter(pl.Series(is_among(rows["key"].to_numpy(), done.open), dtype=pl.Boolean))
            append_parts(folder, rows.with_columns(_place=(pl.col("key") % count).cast(pl.UInt32)))
        for number in range(count):
            bucket = read_part(folder, number)
            if bucket is not None:
                yield _joined(bucket, ready)


def _joined(rows: pl.DataFrame, ready: ReadyView) -> pl.DataFrame:
    joined: pl.DataFrame | None = None
    places = [f"input_{place}" for place in range(len(ready.view.made_from))]
    for place, view in zip(places, ready.view.made_from, strict=True):
        mine = standing(rows.filter(pl.col("view") == view), "image_key")
        mine = mine.select("image_key", pl.struct(_KEPT).alias(place))
        joined = mine if joined is None else joined.join(mine, on="image_key", how="full", coalesce=True)
    assert joined is not None
    texts = (pl.Series(joined[place].struct.field("text")) for place in places)
    hashes = inputs_hashes([_hashed(text) for text in texts])
    shard = pl.coalesce(pl.col(place).struct.field("shard") for place in places)
    return joined.select("image_key", *places, shard=shard, inputs_hash=hashes)


def _hashed(texts: pl.Series) -> pl.Series:
    """Hashes of texts; null for none, as where a view has no caption at all."""
    return text_hashes(texts).set(texts.is_null(), None)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the caption of one image is made from."""

    key: str
    shard: str
    hash: int
    rows: Mapping[str, Mapping[str, Any] | None]  # by view, in the order of `from`: its row; None for none

    views: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, row: Mapping[str, Any], ready: ReadyView) -> Inputs:
        """Of a row that `gathered_inputs` made."""
        rows = {view: row[f"input_{place}"] for place, view in enumerate(ready.view.made_from)}
        return cls(row["image_key"], row["shard"], row["inputs_hash"], rows)

    @property
    def work_id(self) -> str:
        """Names this piece of work, as `ImageItem.work_id`."""
        return f"{self.shard}\x1f{self.key}\x1ffused"

    @property
    def texts(self) -> dict[str, str | None]:
        """The captions by view."""
        return {view: None if row is None else row["text"] for view, row in self.rows.items()}

    def row(self, ready: ReadyView, place: int) -> dict[str, Any]:
        """What is known of the caption's row before it is made; `place`: of its prompt."""
        there = [row for row in self.rows.values() if row is not None]
        image = max(there, key=lambda row: row["width"] is not None)
        about = ("source_width", "source_height", "source_format", "image_sha256")
        return {
            "image_key": self.key,
            "shard": self.shard,
            "view": ready.name,
            "candidate": 0,
            "fingerprint": ready.fingerprints[place],
            "prompt_id": ready.view.prompt_ids()[place],
            "prompt": None,
            "inputs": "\n".join(row["text"] for row in there),
            "inputs_hash": self.hash,
            "parents": [{name: row[name] for name in ("view", "candidate", "fingerprint")} for row in there],
            "max_tokens": ready.view.sampling.max_tokens,
            "model": ready.view.model_name,
            "model_revision": ready.model.revision,
            "lora": ready.view.lora,
            **{name: image[name] for name in about},
            "created_ms": now_ms(),
        }

    def stand_in(self, ready: ReadyView, place: int, reason: Unfused, detail: str | None) -> dict[str, Any] | None:
        """The row of the caption that stands for the fused one; None where there is none."""
        row = self.rows[ready.view.unfused or ""]
        return None if row is None else fallback_row(row, self.row(ready, place), reason, detail)

    def without_engine(self, ready: ReadyView) -> dict[str, Any] | None:
        """The row of an image for which no model is asked; None where one is."""
        place = ready.choices([self.key])[0]
        texts = self.texts
        if fill_inputs(ready.view.prompts[place].text, texts, ()) is None:
            detail = f"no caption of {', '.join(view for view, text in texts.items() if text is None)}"
            row = self.stand_in(ready, place, Unfused.no_input, detail)
            return row or failed_row(self.row(ready, place), Failure.no_input, detail)
        contrary = inputs_contradict(texts)
        return self.stand_in(ready, place, Unfused.contradiction, contrary) if contrary else None


@dataclass(frozen=True)
class ReadInputs:
    """Gives the inputs of some images, and writes what needs no engine. A Ray task."""

    rows: Any  # ObjectRef of a table of `gathered_inputs`
    ready: ReadyView
    run: Run

    @seals_errors
    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Rows with `start` -> slices of the table, without the images that are not asked about."""
        import pyarrow as pa
        import ray

        table = ray.get(self.rows)
        for start in batch["start"].to_pylist():
            some = table.slice(start, TASK_ROWS)
            found = [Inputs.of(row, self.ready).without_engine(self.ready) for row in some.to_pylist()]
            written = [row for row in found if row is not None]
            if written:
                self.run.append("captions", pl.DataFrame(written, schema=tables.CAPTIONS, orient="row"))
            wanted = some.filter(pa.array([row is None for row in found]))
            if wanted.num_rows:
                yield wanted


class Fuser(Captioner):
    """Captions with a fusion, from texts alone."""

    def _row(self, ready: ReadyView, place: int, item: Any) -> dict[str, Any]:
        row: dict[str, Any] = item.row(ready, place)
        return row | {"engine": self.engine.label, "template_sha256": self.engine.template_sha256}

    def _filled(self, ready: ReadyView, place: int, item: Any) -> tuple[str, tuple[str, ...]] | None:
        return fill_inputs(ready.view.prompts[place].text, item.texts, self.engine.special)

    def _shown(self, ready: ReadyView, item: Any) -> tuple[None, str]:
        return None, ""

    async def ask(self, item: Any, view: int, captions: list[dict[str, Any]]) -> list[AskedRow]:
        """Nothing: who judges fused captions has to see the image."""
        return []


class FuseBatches(CaptionBatches):
    """Fuses batches and writes them. A duty of an engine."""

    def __init__(self, engine: Captions, log: Path, ready: ReadyView, run: Run, watch: Any) -> None:
        super().__init__(engine, log, EngineGroup((ready,)), run, watch, {}, {})
        self.ready = ready
        self.captioner = Fuser(self.captioner.group, engine)

    def _items(self, rows: list[dict[str, Any]]) -> list[Any]:
        return [Inputs.of(row, self.ready) for row in rows]

    def _refused(self, rows: list[dict[str, Any]]) -> pl.DataFrame:
        return tables.QUARANTINE.to_frame()

    def _unreadable(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return []

    def _start_canary(self, items: list[ImageItem]) -> None:
        """There is no image that a caption could ignore."""

    def _gallery(self, items: list[ImageItem]) -> pl.DataFrame:
        return tables.GALLERY.to_frame()

    async def _caption(self, items: list[Any], past: Any, answers: list[tuple[str, AskedRow]]) -> list[dict[str, Any]]:
        """The fused captions, which of them do not stand, and what stands for them."""
        return with_stand_ins(self.ready, items, await super()._caption(items, past, answers))


def with_stand_ins(ready: ReadyView, items: Sequence[Inputs], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of fused captions with which of them do not stand, and the rows that stand for an image of which none does."""
    marked = mark_unfused(rows, {item.key: item.texts for item in items})
    by_key: dict[str, list[dict[str, Any]]] = {}
    for row in marked:
        by_key.setdefault(row["image_key"], []).append(row)
    for item in items:
        told = [row for row in by_key.get(item.key, ()) if row["status"] != Status.failed]
        fallen = [row for row in told if row.get("unfused")]
        if fallen and len(fallen) == len(told):
            place = ready.choices([item.key])[0]
            stands = item.stand_in(ready, place, Unfused(fallen[0]["unfused"]), fallen[0]["detail"])
            marked += [stands] if stands is not None else []
    return marked
