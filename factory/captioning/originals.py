"""The view `original`: the source's own texts as caption rows, read shard by shard without an engine.

A shard is done when the table `originals` has it as it stands now under the same fingerprint. Its captions are written
before that row, so a crash in between reads the shard again and writes rows twice, which reading resolves by key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from factory.engines.ray_errors import seals_errors
from factory.images.reasons import Reason
from factory.recipe import ORIGINAL, ORIGINAL_IMAGE
from factory.runs import tables
from factory.runs.clock import now_ms
from factory.runs.run import Run
from factory.runs.tables import Status
from factory.sources.captions import TEXTS, CaptionTexts
from factory.sources.shard_keys import DUPLICATE
from factory.sources.source import ImageSource, Shard, SourceRow

if TYPE_CHECKING:
    from factory.work.plan import Plan

TASK_ROWS: Final = 50_000
"""Rows of one task, which becomes one caption part."""
UNKNOWN_ROWS: Final = 25_000
GALLERY_SHARE: Final = 192


def read_missing(plan: Plan, progress: Any) -> dict[str, int]:
    """Read the shards that are not done. Returns the rows read by state.

    Small work is done in this process, larger work by Ray tasks.
    """
    tasks = list(_tasks(plan))
    if not tasks:
        return {}
    reader = ReadOriginals(plan.source, plan.work.run, plan.work.original_print)
    states: dict[str, int] = {}
    for report in _in_tasks(reader, tasks, plan.work.logs):
        for name, rows in report.items():
            states[name] = states.get(name, 0) + rows
        progress.detail(f"reading texts: {sum(states.values()):,} rows")
    return states


def _in_tasks(reader: ReadOriginals, tasks: list[str], logs: str | None) -> Iterator[dict[str, int]]:
    if len(tasks) <= 2:
        for task in tasks:
            yield reader.read(task)
        return
    from factory.engines.cluster import ray_cluster
    from factory.engines.stage import reports

    with ray_cluster(logs) as ray:
        for batch in reports(ray, [{"task": task} for task in tasks], reader):
            for row in batch.to_pylist():
                yield json.loads(row["report"])


def _tasks(plan: Plan) -> Iterator[str]:
    """The shards that are not done, as JSON lists of about TASK_ROWS rows."""
    task: list[dict[str, Any]] = []
    rows = 0
    for listed in plan.original_shards:
        if listed.complete:
            continue
        count = listed.take or listed.rows or UNKNOWN_ROWS
        if task and rows + count > TASK_ROWS:
            yield json.dumps(task)
            task, rows = [], 0
        task.append({**asdict(listed.shard), "take": listed.take})
        rows += count
    if task:
        yield json.dumps(task)


@dataclass(frozen=True)
class ReadOriginals:
    """Reads shards and writes their texts as caption rows. A Ray task."""

    source: ImageSource
    run: Run
    fingerprint: str

    @seals_errors
    def __call__(self, batch: Any) -> Any:
        """Rows with `task` -> rows with `report`."""
        import pyarrow as pa

        return pa.table({"report": [json.dumps(self.read(task)) for task in batch["task"].to_pylist()]})

    def read(self, task: str) -> dict[str, int]:
        """Read the shards of a task and write one part of captions. Returns rows by state."""
        captions: list[pl.DataFrame] = []
        refused: list[pl.DataFrame] = []
        shards: list[dict[str, Any]] = []
        gallery: list[dict[str, Any]] = []
        for spec in json.loads(task):
            take = spec.pop("take")
            shard = Shard(**spec)
            good, bad = self._read(shard, take, gallery)
            captions.append(good)
            refused.append(bad)
            shards.append(
                {
                    "shard": shard.name,
                    "stat": shard.stat,
                    "fingerprint": self.fingerprint,
                    "rows": good.height + bad.height,
                    "refused": bad.height,
                    "take": take,
                    "created_ms": now_ms(),
                }
            )
        self.run.append("quarantine", pl.concat(refused))
        self.run.append("captions", pl.concat(captions))
        self.run.append("gallery", pl.DataFrame(gallery, schema=tables.GALLERY))
        self.run.append("originals", pl.DataFrame(shards, schema=tables.ORIGINALS))
        return {Status.ok: sum(map(len, captions)), Status.quarantined: sum(map(len, refused))}

    def _read(self, shard: Shard, take: int | None, gallery: list[dict[str, Any]]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """(rows of tables.CAPTIONS, rows of tables.QUARANTINE) of a shard."""
        frames = list(self._frames(shard, take, gallery))
        rows = pl.concat(frames) if frames else _ROWS.to_frame()
        if take is not None:
            rows = rows.head(take)
        again = ~rows["image_key"].is_first_distinct()
        rows = rows.with_columns(
            reason=pl.when(again).then(pl.lit(Reason.duplicate_key)).otherwise("reason"),
            detail=pl.when(again)
            .then(pl.lit(f"this key came before in {shard.name}; keys must be unique"))
            .otherwise("detail"),
            fingerprint=pl.when(again).then(pl.lit(DUPLICATE)).otherwise(pl.lit(self.fingerprint)),
            shard=pl.lit(shard.name),
            created_ms=pl.lit(now_ms()),
        )
        good = rows.filter(pl.col("reason").is_null()).with_columns(
            view=pl.lit(ORIGINAL), candidate=pl.lit(0), status=pl.lit(Status.ok.value)
        )
        return _fit(good.drop("reason", "detail"), tables.CAPTIONS), _fit(
            rows.filter(pl.col("reason").is_not_null()), tables.QUARANTINE
        )

    def _frames(self, shard: Shard, take: int | None, gallery: list[dict[str, Any]]) -> Iterator[pl.DataFrame]:
        """Frames of _ROWS."""
        left = take
        if isinstance(self.source, CaptionTexts):
            for frame in self.source.texts(shard):
                yield _fit(frame, _ROWS)
                left = None if left is None else left - frame.height
                if left is not None and left <= 0:
                    return
            return
        rows = []
        for row in self.source.read(shard, ORIGINAL_IMAGE.max_bytes):
            rows.append(_image_row(row, gallery))
            if take is not None and len(rows) == take:
                break
        yield pl.DataFrame(rows, schema=_ROWS)


_ROWS: Final = pl.Schema(
    {
        "image_key": pl.String,
        "text": pl.String,
        "reason": pl.String,
        "detail": pl.String,
        "image_sha256": pl.String,
        "source_width": pl.Int32,
        "source_height": pl.Int32,
        "source_format": pl.String,
    }
)
assert set(TEXTS) - set(_ROWS) == {"fields"}


def _image_row(row: SourceRow, gallery: list[dict[str, Any]]) -> dict[str, Any]:
    """A row of _ROWS: what its image and its text are, or why it cannot be used."""
    from factory.images.prepare import Rejection, prepare_image, thumbnail

    found: dict[str, Any] = {"image_key": row.key, "text": row.text}
    if row.data is None:
        reason = {"missing": Reason.no_image, "too_many_bytes": Reason.too_many_bytes}
        return {**found, "reason": reason.get(row.problem or "missing", Reason.unreadable_row), "detail": row.detail}
    found["image_sha256"] = hashlib.sha256(row.data).hexdigest()
    if row.text is None:
        return {**found, "reason": Reason.no_text, "detail": "the row has an image and no text"}
    image = prepare_image(row.data, ORIGINAL_IMAGE)
    if isinstance(image, Rejection):
        return {**found, "reason": image.reason, "detail": image.detail}
    if len(gallery) < GALLERY_SHARE:
        gallery.append({"image_key": row.key, "thumbnail": thumbnail(image)})
    return {
        **found,
        "source_width": image.source_width,
        "source_height": image.source_height,
        "source_format": image.source_format,
    }


def _fit(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The frame with exactly the columns of a schema; absent ones are null."""
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in schema.items()
    )
