"""The stages of a run as Ray sees them: read and prepare (CPU tasks), caption (engine actors).

Rows travel between them as Arrow tables with the columns of `WORK`. The caption stage writes what it has finished
before it reports it, so what is reported is safe.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from factory.engines.ray_errors import seals_errors
from factory.engines.watched_rows import WatchedRows, guilt, suspects
from factory.images.item import ImageItem
from factory.images.prepare import PreparedImage, Rejection, prepare_image, thumbnail
from factory.images.reasons import Reason
from factory.runs import tables
from factory.runs.clock import now_ms
from factory.runs.done_set import DoneSet
from factory.runs.run import Run, new_part_name
from factory.runs.tables import Failure, Status
from factory.sources.shard_keys import DUPLICATE, ShardKeys, content_hash, image_sha256
from factory.sources.source import REFUSED, ImageSource, Shard, SourceRow

if TYPE_CHECKING:
    from pathlib import Path

    from factory.engines.contract import Captions
    from factory.engines.watch import Past
    from factory.images.item import ImageItem
    from factory.judging.answer_fields import AskedRow
    from factory.work.views import EngineGroup, ReadyView
    from filters.asking.questions import VlmFilter

READ_ROWS = 64
READ_BYTES = 32_000_000
GALLERY_IMAGES = 192

WORK = pa.schema(
    {
        "image_key": pa.string(),
        "shard": pa.string(),
        "text": pa.string(),
        "views": pa.list_(pa.int16()),  # views of the group still wanted
        "rgb": pa.large_binary(),  # null where there is no image to caption
        "width": pa.int32(),
        "height": pa.int32(),
        "source_width": pa.int32(),
        "source_height": pa.int32(),
        "source_format": pa.string(),
        "sha256": pa.string(),
        "asks": pa.list_(pa.string()),  # experts whose context the views' prompts want
        "data": pa.large_binary(),  # the image as the source has it, for them; null where there are none, or after them
        "context": pa.map_(pa.string(), pa.string()),  # what they found by name: '' for nothing, null: they failed
        "reason": pa.string(),  # why there is none: a quarantine reason, or source_unreadable
        "detail": pa.string(),
        "fingerprint": pa.string(),  # of the quarantine row
    }
)

# What the caption stage reports of a batch: how many (image, view) pairs and quarantined images ended how.
REPORT = pa.schema(
    {"status": pa.string(), "rows": pa.int64(), "prompt_tokens": pa.int64(), "output_tokens": pa.int64()}
)


# --- read and prepare ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReadShards:
    """Reads shards, skips what is done, prepares the images of the rest. A Ray task."""

    source: ImageSource
    group: EngineGroup
    run: Run
    done: Any  # ObjectRef of the done set's two arrays
    reading: str  # identifies the settings that rows are read with

    @seals_errors
    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Rows with `shards`, a JSON list of shards with `take` (null: read to the end) -> tables of WORK."""
        import ray

        done = DoneSet(*ray.get(self.done))
        for task in batch["shards"].to_pylist():
            for spec in json.loads(task):
                take = spec.pop("take")
                yield from self._read(Shard(**spec), take, done)

    def _read(self, shard: Shard, take: int | None, done: DoneSet) -> Iterator[pa.Table]:
        max_bytes = max(ready.view.image.max_bytes for ready in self.group.views)
        keys = ShardKeys()
        for rows in _chunks(self.source.read(shard, max_bytes), take):
            first, repeated = keys.add(rows)
            table = pa.Table.from_pylist(
                [*self._repeated(shard, repeated, done), *self._work(shard, first, done)], schema=WORK
            )
            if table.num_rows:
                yield table
        self.run.append("shards", keys.frame(shard, take, self.reading))

    def _repeated(self, shard: Shard, rows: list[SourceRow], done: DoneSet) -> Iterator[dict[str, Any]]:
        skip = done.contains(_lookup([row.key for row in rows], "", DUPLICATE)) if rows else ()
        for row, known in zip(rows, skip, strict=True):
            if not known:
                detail = f"this key came before in {shard.name}; keys must be unique"
                yield _work_row(row, shard, [], Reason.duplicate_key, detail, DUPLICATE)

    def _work(self, shard: Shard, rows: list[SourceRow], done: DoneSet) -> Iterator[dict[str, Any]]:
        for row, missing in zip(rows, self._missing(rows, done), strict=True):
            for preparation in self.group.images:
                views = [
                    place
                    for place in missing
                    if self.group.views[place].image_fingerprint == preparation.image_fingerprint
                ]
                if views:
                    yield self._prepare(row, shard, views, preparation)

    def _missing(self, rows: list[SourceRow], done: DoneSet) -> list[list[int]]:
        """Per row, the views that are neither done nor in quarantine under their image settings."""
        missing: list[list[int]] = [[] for _ in rows]
        keys = [row.key for row in rows]
        for place, ready in enumerate(self.group.views):
            skip = [False] * len(rows)
            if len(done) and rows:
                contents = pl.Series([content_hash(image_sha256(row)) for row in rows], dtype=pl.UInt64)
                wanted_work = ready.work_frame(keys, contents, [row.text for row in rows])
                refused = _lookup(keys, "", ready.image_fingerprint).with_columns(content=contents)
                skip = list(done.contains(wanted_work) | done.contains(refused))
            for row, wanted, known in zip(rows, missing, skip, strict=True):
                if not known and not (ready.fills_gaps and row.text is not None):
                    wanted.append(place)
        return missing

    def _prepare(self, row: SourceRow, shard: Shard, views: list[int], ready: ReadyView) -> dict[str, Any]:
        if row.data is None:
            reason = REFUSED.get(row.problem or "missing")
            return _work_row(
                row, shard, views, reason or Failure.source_unreadable, row.detail, ready.image_fingerprint
            )
        outcome = prepare_image(row.data, ready.view.image)
        sha256 = hashlib.sha256(row.data).hexdigest()
        if isinstance(outcome, Rejection):
            return _work_row(row, shard, views, outcome.reason, outcome.detail, ready.image_fingerprint) | {
                "sha256": sha256
            }
        return {
            "image_key": row.key,
            "shard": shard.name,
            "text": row.text,
            "views": views,
            "rgb": outcome.rgb,
            "width": outcome.width,
            "height": outcome.height,
            "source_width": outcome.source_width,
            "source_height": outcome.source_height,
            "source_format": outcome.source_format,
            "sha256": sha256,
        } | self._for_experts(row, views)

    def _for_experts(self, row: SourceRow, views: list[int]) -> dict[str, Any]:
        """What experts need of an image whose prompts ask for some."""
        if not self.group.experts:
            return {}
        prompts = [(self.group.views[place], self.group.views[place].choices([row.key])[0]) for place in views]
        asks = sorted({name for ready, prompt in prompts for name in ready.asked_experts[prompt]})
        return {"asks": asks, "data": row.data} if asks else {}


@dataclass(frozen=True)
class ReadAgain(ReadShards):
    """Reads only the images that a rung of the ladder tries again. A Ray task."""

    wanted: Any  # ObjectRef of the two arrays of a done set: the wanted (image, view, '')

    @seals_errors
    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """As of ReadShards."""
        import ray

        again = replace(self, wanted=DoneSet(*ray.get(self.wanted)))
        yield from ReadShards.__call__(again, batch)

    def _read(self, shard: Shard, take: int | None, done: DoneSet) -> Iterator[pa.Table]:
        max_bytes = max(ready.view.image.max_bytes for ready in self.group.views)
        keys = ShardKeys()
        for rows in _chunks(self.source.read(shard, max_bytes), take):
            table = pa.Table.from_pylist(list(self._work(shard, keys.add(rows)[0], done)), schema=WORK)
            if table.num_rows:
                yield table

    def _missing(self, rows: list[SourceRow], done: DoneSet) -> list[list[int]]:
        keys = [row.key for row in rows]
        asked = [self.wanted.contains(_lookup(keys, ready.name, "")) for ready in self.group.views]
        missing = super()._missing(rows, done)
        return [[place for place in places if asked[place][row]] for row, places in enumerate(missing)]


def _lookup(keys: list[str], view: str, fingerprint: str) -> pl.DataFrame:
    same = len(keys)
    schema = {"image_key": pl.String, "view": pl.String, "fingerprint": pl.String}
    return pl.DataFrame({"image_key": keys, "view": [view] * same, "fingerprint": [fingerprint] * same}, schema=schema)


def _work_row(
    row: SourceRow, shard: Shard, views: list[int], reason: str, detail: str, fingerprint: str
) -> dict[str, Any]:
    return {
        "image_key": row.key,
        "shard": shard.name,
        "text": row.text,
        "views": views,
        "reason": str(reason),
        "detail": detail,
        "fingerprint": fingerprint,
    }


def _chunks(rows: Iterator[SourceRow], take: int | None) -> Iterator[list[SourceRow]]:
    """Rows in lists of at most READ_ROWS rows and about READ_BYTES bytes; only the first `take` rows."""
    chunk: list[SourceRow] = []
    size = 0
    for row in rows if take is None else islice(rows, take):
        chunk.append(row)
        size += len(row.data or b"")
        if len(chunk) >= READ_ROWS or size >= READ_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


# --- caption -----------------------------------------------------------------------------------------------------------


class CaptionBatches:
    """Captions batches and writes them. A duty of an engine; several batches are in it at once."""

    def __init__(
        self,
        engine: Captions,
        log: Path,
        group: EngineGroup,
        run: Run,
        watch: Any,
        filters: dict[str, tuple[VlmFilter, ...]],
        judges: dict[str, str],
    ) -> None:
        """`filters`: view -> those asked with its captions; `judges`: view -> under which fingerprint the answers are kept."""
        from factory.captioning.captioner import Captioner

        self.run = run
        self.rows = WatchedRows(watch, log)
        self.captioner = Captioner(group, engine, filters)
        self.judges = judges
        self.gallery_seen = 0
        self._canary: asyncio.Task[None] | None = None

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """A table of WORK -> a table of REPORT, once the batch's rows are written."""
        from factory.engines.contract import EngineDied

        rows = batch.to_pylist()
        items = self._items(rows)
        try:
            past = await self.rows.begin(item.work_id for item in items)
            items = [item for item in items if item.work_id not in past.written]
            self._start_canary(items)
            answers: list[tuple[str, AskedRow]] = []
            made = await self._caption(items, past, answers)
            await self._canary_passed()
        except EngineDied as error:
            await self.rows.died(str(error))
        made += self._unreadable(rows)
        refused = self._refused(rows)
        self.run.append("quarantine", refused)
        captions = pl.DataFrame(made, schema=tables.CAPTIONS, orient="row")
        self._write(captions, answers)
        self.run.append("gallery", self._gallery(items))
        pairs = _pair_states(captions)
        states = {item.work_id: pairs[item.key, self.captioner.group.views[item.views[0]].name] for item in items}
        await self.rows.end(states, captions["output_tokens"].count())
        return _report([*pairs.values(), *past.written.values()], captions, refused.height)

    def _items(self, rows: list[dict[str, Any]]) -> list[ImageItem]:
        """What there is to caption of a batch."""
        return [ImageItem.from_row(row) for row in rows if row["rgb"] is not None]

    def _refused(self, rows: list[dict[str, Any]]) -> pl.DataFrame:
        """Rows of tables.QUARANTINE."""
        return _quarantine_frame(rows)

    def _start_canary(self, items: list[ImageItem]) -> None:
        """Start the canary with the first batch that has images; nothing is written before it has passed."""
        if self._canary is None and items:
            self._canary = asyncio.create_task(self.captioner.canary(items))

    async def _canary_passed(self) -> None:
        if self._canary is not None:
            await asyncio.shield(self._canary)

    def _write(self, captions: pl.DataFrame, answers: list[tuple[str, AskedRow]]) -> None:
        """Append captions, and before them what was answered about them."""
        part = new_part_name()
        for judge in dict.fromkeys(fingerprint for fingerprint, _ in answers):
            rows = pl.DataFrame([row for fingerprint, row in answers if fingerprint == judge], schema=tables.ANSWERS)
            self.run.append(f"answers/{judge}", rows, f"{part}.made")
        self.run.append("captions", captions, part)

    async def _caption(
        self, items: list[ImageItem], past: Past, answers: list[tuple[str, AskedRow]]
    ) -> list[dict[str, Any]]:
        """The rows of the images' captions; what filters asked about them goes to `answers`, with the judge's fingerprint."""
        made: list[dict[str, Any]] = []
        alone = set(suspects([item.work_id for item in items], past))
        for item in items:
            if item.work_id in past.guilty:
                detail = guilt(item.work_id, past)
                made += [self.captioner.failed(item, view, Failure.engine_died, detail) for view in item.views]
        crowd = [item for item in items if item.work_id not in past.guilty and item.work_id not in alone]
        async with self.rows.together():
            jobs = [self._caption_one(item, view, answers) for item in crowd for view in item.views]
            for rows in await asyncio.gather(*jobs):
                made += rows
        for item in items:
            if item.work_id in alone:
                made += await self._caption_alone(item, answers)
        return made

    async def _caption_one(
        self, item: ImageItem, view: int, answers: list[tuple[str, AskedRow]]
    ) -> list[dict[str, Any]]:
        rows = await self.captioner.caption(item, view)
        fingerprint = self.judges.get(self.captioner.group.views[view].name, "")
        answers += [(fingerprint, row) for row in await self.captioner.ask(item, view, rows)]
        return rows

    async def _caption_alone(self, item: ImageItem, answers: list[tuple[str, AskedRow]]) -> list[dict[str, Any]]:
        """Caption an image that was there when engines died, with nothing else in this engine."""
        await self._canary_passed()
        async with self.rows.alone(item.work_id):
            return [row for view in item.views for row in await self._caption_one(item, view, answers)]

    def _unreadable(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            self.captioner.failed(ImageItem.from_row(row), view, Failure.source_unreadable, row["detail"] or "")
            for row in rows
            if row["reason"] == Failure.source_unreadable
            for view in row["views"]
        ]

    def _gallery(self, items: list[ImageItem]) -> pl.DataFrame:
        """Small pictures of a sample: all of the first GALLERY_IMAGES images, then ever fewer."""
        kept = []
        for item in items:
            self.gallery_seen += 1
            if random.Random(item.key).random() < GALLERY_IMAGES / self.gallery_seen:
                picture = PreparedImage(
                    bytes(item.rgb),
                    item.width,
                    item.height,
                    item.source_format,
                    item.source_width,
                    item.source_height,
                    1,
                )
                kept.append({"image_key": item.key, "thumbnail": thumbnail(picture)})
        return pl.DataFrame(kept, schema=tables.GALLERY)


def _quarantine_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    refused = [
        {
            "image_key": row["image_key"],
            "shard": row["shard"],
            "fingerprint": row["fingerprint"],
            "reason": row["reason"],
            "detail": row["detail"],
            "image_sha256": row["sha256"],
            "created_ms": now_ms(),
        }
        for row in rows
        if row["reason"] is not None and row["reason"] != Failure.source_unreadable
    ]
    return pl.DataFrame(refused, schema=tables.QUARANTINE)


def _pair_states(captions: pl.DataFrame) -> dict[tuple[str, str], str]:
    """The state of each (image key, view): that of its worst candidate."""
    worst = {Status.ok: 0, Status.truncated: 1, Status.failed: 2}
    pairs: dict[tuple[str, str], str] = {}
    for key, view, status in captions.select("image_key", "view", "status").iter_rows():
        pairs[key, view] = max(pairs.get((key, view), status), status, key=lambda name: worst[Status(name)])
    return pairs


def _report(states: list[str], captions: pl.DataFrame, refused: int) -> pa.Table:
    counts = Counter(states)
    counts[Status.quarantined] += refused
    totals = captions.select(pl.col("prompt_tokens").sum(), pl.col("output_tokens").sum()).row(0)
    rows = [
        {"status": state, "rows": number, "prompt_tokens": 0, "output_tokens": 0} for state, number in counts.items()
    ]
    rows.append({"status": "", "rows": 0, "prompt_tokens": totals[0] or 0, "output_tokens": totals[1] or 0})
    return pa.Table.from_pylist(rows, schema=REPORT)
