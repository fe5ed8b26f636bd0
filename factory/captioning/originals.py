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
from factory.errors import SourceError
from factory.images.reasons import Reason
from factory.recipe import ORIGINAL, ORIGINAL_IMAGE
from factory.runs import tables
from factory.runs.clock import now_ms
from factory.runs.run import Run
from factory.runs.tables import Status
from factory.sources.caption_text import MOST_TEXTS, TEXT_COLUMNS
from factory.sources.captions import TEXTS, CaptionTexts
from factory.sources.shard_keys import DUPLICATE
from factory.sources.source import REFUSED, ImageSource, Shard, SourceRow

if TYPE_CHECKING:
    from factory.engines.room import EngineRoom
    from factory.work.plan import Plan

TASK_ROWS: Final = 50_000
"""Rows of one task, which becomes one caption part."""
UNKNOWN_ROWS: Final = 25_000
LEAST_BYTES: Final = 32
"""Of a line with a caption, mostly; for how much work a range of lines is."""
GALLERY_SHARE: Final = 192
NOT_WHOLE: Final = "(not whole)"
"""Behind the `stat` of a shard of which something could not be read: the next run reads it again."""


def read_missing(plan: Plan, progress: Any, room: EngineRoom) -> dict[str, int]:
    """Read the shards that are not done. Returns the rows read by state.

    Small work is done in this process, larger work by Ray tasks.
    """
    states: dict[str, int] = {}
    if not plan.work.seeing:
        _need_a_column(plan)
    if tasks := list(_tasks(plan)):
        reader = ReadOriginals(plan.source, plan.work.run, plan.work.original_fingerprint)
        for report in _in_tasks(reader, tasks, room):
            for name, rows in report.items():
                states[name] = states.get(name, 0) + rows
            progress.detail(f"reading texts: {sum(states.values()):,} rows")
    if not plan.work.seeing:
        _need_captions(plan)
    return states


def _need_a_column(plan: Plan) -> None:
    """Raises SourceError, before images are read for nothing, where no file has a column of texts."""
    texts = [listed.shard.spec["text"] for listed in plan.original_shards if "text" in listed.shard.spec]
    if texts and not any(text is not None for text in texts):
        where = getattr(plan.work.recipe.source, "path", "the source")
        raise SourceError(
            f"{where}: no column with texts (tried: {', '.join(TEXT_COLUMNS)}); name it with source.text, or --text"
        )


def _need_captions(plan: Plan) -> None:
    """Raises SourceError where the source, whose captions are all that was asked for, has not one."""
    names = [listed.shard.name for listed in plan.original_shards]
    read = plan.work.run.originals(plan.work.original_fingerprint).filter(pl.col("shard").is_in(names))
    rows, refused = sum(read["rows"]), sum(read["refused"])
    if rows > refused:
        return
    why = plan.work.run.quarantine([plan.work.original_fingerprint, DUPLICATE]).filter(pl.col("shard").is_in(names))
    counted = why.group_by("reason").agg(pl.len().alias("rows"), pl.col("detail").sort().first())
    reasons = counted.sort("rows", "reason", descending=[True, False]).collect().head(5)
    words = [f"  {count:,} {reason}, such as: {detail}" for reason, count, detail in reasons.iter_rows()]
    where = getattr(plan.work.recipe.source, "path", "the source")
    raise SourceError(
        "\n".join(
            [
                f"{where}: no caption in its {rows:,} rows, read as kind: {plan.work.recipe.source.kind}",
                *words,
                "is it the right kind of source, and the right column (source.text, or --text)?",
            ]
        )
    )


def _in_tasks(reader: ReadOriginals, tasks: list[str], room: EngineRoom) -> Iterator[dict[str, int]]:
    if len(tasks) <= 2:
        for task in tasks:
            yield reader.read(task)
        return
    from factory.engines.stage import reports

    for batch in reports(room.ray, [{"task": task} for task in tasks], reader):
        for row in batch.to_pylist():
            yield json.loads(row["report"])


def _tasks(plan: Plan) -> Iterator[str]:
    """The shards that are not done, as JSON lists of about TASK_ROWS rows."""
    task: list[dict[str, Any]] = []
    rows = 0
    for listed in plan.original_shards:
        if listed.complete:
            continue
        count = listed.take or listed.rows or _rows_expected(listed.shard)
        if task and rows + count > TASK_ROWS:
            yield json.dumps(task)
            task, rows = [], 0
        task.append({**asdict(listed.shard), "take": listed.take})
        rows += count
    if task:
        yield json.dumps(task)


def _rows_expected(shard: Shard) -> int:
    """Of a shard whose rows nobody has counted; of a range of lines not more than its bytes can hold."""
    size = shard.spec.get("end", 0) - shard.spec.get("start", 0)
    return min(UNKNOWN_ROWS, 1 + size // LEAST_BYTES) if size else UNKNOWN_ROWS


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
            read_ms = now_ms()
            good, bad = self._read(shard, take, gallery, read_ms)
            captions.append(good)
            refused.append(bad)
            broken = (bad["reason"] == Reason.source_unreadable).any()
            shards.append(
                {
                    "shard": shard.name,
                    "stat": f"{shard.stat} {NOT_WHOLE}" if broken else shard.stat,
                    "fingerprint": self.fingerprint,
                    "rows": good.filter(pl.col("candidate") == 0).height + bad.height,
                    "refused": bad.height,
                    "take": take,
                    "created_ms": read_ms,
                }
            )
        self.run.append("quarantine", pl.concat(refused))
        self.run.append("captions", pl.concat(captions))
        self.run.append("gallery", pl.DataFrame(gallery, schema=tables.GALLERY))
        self.run.append("originals", pl.DataFrame(shards, schema=tables.ORIGINALS))
        rows, bad_rows = sum(row["rows"] for row in shards), sum(map(len, refused))
        return {Status.ok: rows - bad_rows, Status.quarantined: bad_rows}

    def _read(
        self, shard: Shard, take: int | None, gallery: list[dict[str, Any]], read_ms: int
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """(rows of tables.CAPTIONS, rows of tables.QUARANTINE) of a shard."""
        frames = list(self._frames(shard, take, gallery))
        rows = pl.concat(frames) if frames else _ROWS.to_frame()
        if take is not None:
            rows = rows.filter(pl.col("place") < take)
        again = pl.col("place") != pl.col("place").first().over("image_key")
        rows = rows.with_columns(
            reason=pl.when(again).then(pl.lit(Reason.duplicate_key)).otherwise("reason"),
            detail=pl.when(again)
            .then(pl.lit(f"this key came before in {shard.name}; keys must be unique"))
            .otherwise("detail"),
            fingerprint=pl.when(again).then(pl.lit(DUPLICATE)).otherwise(pl.lit(self.fingerprint)),
            shard=pl.lit(shard.name),
            created_ms=pl.lit(read_ms),
        )
        good = rows.filter(pl.col("reason").is_null()).with_columns(
            view=pl.lit(ORIGINAL), status=pl.lit(Status.ok.value)
        )
        bad = rows.filter(pl.col("reason").is_not_null() & (pl.col("candidate") == 0))
        return _fit(good.drop("reason", "detail"), tables.CAPTIONS), _fit(bad, tables.QUARANTINE)

    def _frames(self, shard: Shard, take: int | None, gallery: list[dict[str, Any]]) -> Iterator[pl.DataFrame]:
        """Frames of _ROWS."""
        if isinstance(self.source, CaptionTexts):
            for frame in self.source.texts(shard):
                yield _fit(frame, _ROWS)
                if take is not None and frame["place"][-1] + 1 >= take:
                    return
            return
        rows: list[dict[str, Any]] = []
        for place, row in enumerate(self.source.read(shard, ORIGINAL_IMAGE.max_bytes)):
            rows += _image_rows(row, place, gallery)
            if take is not None and place + 1 == take:
                break
        yield pl.DataFrame(rows, schema=_ROWS)


_ROWS: Final = pl.Schema(
    {
        "image_key": pl.String,
        "place": pl.Int64,
        "candidate": pl.Int16,
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


def _image_rows(row: SourceRow, place: int, gallery: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of _ROWS of an image, one a caption: what it is, or, in a single one, why it cannot be used."""
    from factory.images.prepare import Rejection, prepare_image, thumbnail

    found: dict[str, Any] = {"image_key": row.key, "place": place, "candidate": 0, "text": row.text}
    if row.data is None:
        reason = REFUSED.get(row.problem or "missing", Reason.source_unreadable)
        return [{**found, "reason": reason, "detail": row.detail}]
    found["image_sha256"] = hashlib.sha256(row.data).hexdigest()
    if row.text is None:
        return [{**found, "reason": Reason.no_text, "detail": row.detail or "the row has an image and no text"}]
    image = prepare_image(row.data, ORIGINAL_IMAGE)
    if isinstance(image, Rejection):
        return [{**found, "reason": image.reason, "detail": image.detail}]
    if len(gallery) < GALLERY_SHARE:
        gallery.append({"image_key": row.key, "thumbnail": thumbnail(image)})
    found |= {
        "source_width": image.source_width,
        "source_height": image.source_height,
        "source_format": image.source_format,
    }
    rows = [{**found, "candidate": number, "text": text} for number, text in enumerate(row.texts[:MOST_TEXTS])]
    if len(row.texts) > MOST_TEXTS:
        detail = f"captions {MOST_TEXTS + 1} to {len(row.texts):,} of one row; {MOST_TEXTS} are read at most"
        key = f"{row.key}/(more captions)"
        rows.append({**found, "image_key": key, "reason": Reason.unreadable_row, "detail": detail})
    return rows


def _fit(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The frame with exactly the columns of a schema; absent ones are null."""
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in schema.items()
    )
