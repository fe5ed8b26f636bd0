"""Captioning what is missing: read -> prepare -> caption -> write, by one engine after the other."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from factory.captioning.beside_bare import BesideBare, beside_bare
from factory.captioning.merging import MergingParts
from factory.engines.cluster import engine_count
from factory.engines.engine_actor import Duty
from factory.engines.pool import EnginePool
from factory.engines.room import EngineRoom
from factory.engines.stage import engine_reports
from factory.engines.watched_rows import start_watch
from factory.runs.clock import now_ms
from factory.sources.source import ListedShard
from factory.work.plan import Plan
from factory.work.views import EngineGroup
from factory.work.work import Work

if TYPE_CHECKING:
    import pyarrow as pa

    from factory.captioning.stages import ReadShards
    from factory.progress import Progress

ROWS_PER_TASK = 256
EXPERT_TASK_ROWS = 64
"""Of tasks whose images experts look at: the first captions wait for the first task's experts."""


@dataclass
class Made:
    """What captioning did: (image, view) pairs and quarantined images by status, tokens, deaths of engines."""

    images: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    engine_deaths: int = 0
    used: dict[str, float] = field(default_factory=dict)  # seconds of captioning, by factory.engines.use.PARTS
    began_ms: int = field(default_factory=now_ms)
    bare: list[BesideBare] = field(
        default_factory=list
    )  # of each engine group, what it would do with nothing else to do
    always_measure: bool = False  # the bare engine, though it takes long beside this run

    def add(self, report: pa.Table) -> None:
        """Count what a table of `stages.REPORT` tells."""
        for row in report.to_pylist():
            self.images[row["status"]] += row["rows"]
            self.tokens["prompt"] += row["prompt_tokens"]
            self.tokens["output"] += row["output_tokens"]

    def deaths_with(self, now: tuple[int, str]) -> tuple[int, str]:
        """Deaths of engines with those of a stage that runs, as its watch tells its `state`, and the last words."""
        return self.engine_deaths + now[0], now[1]


ENGINE_START: Final = "starting the engine"
"""The phase that takes longest of a small run: weights are loaded, perhaps a graph compiled."""


def caption_missing(plan: Plan, made: Made, progress: Progress, room: EngineRoom) -> None:
    """Caption the open shards of a plan, of which there is at least one.

    Raises:
        EngineError: the engine cannot work at all; its own message.
        SourceError: the source is gone. RunError: the run directory cannot be written.
    """
    from factory.captioning.context import prove
    from factory.captioning.stages import ReadShards

    work = plan.work
    experts = {expert.name: expert for group in work.groups for expert in group.experts}
    if experts:
        progress.phase("trying the experts")
        prove(list(experts.values()))
    progress.phase("starting Ray")
    _ = room.ray  # starts it
    progress.phase(ENGINE_START)
    if plan.is_untouched:  # else an engine starts with the first image that is missing, if there is one
        _start(work, work.groups[0], room)
    finished = plan.finished.done
    done = room.ray.put((finished.high, finished.low))
    for group in work.groups:
        read = ReadShards(plan.source, group, work.run, done, work.reading)
        caption_group(work, group, read, plan.open_shards, made, progress, room)


def caption_group(
    work: Work,
    group: EngineGroup,
    read: ReadShards,
    shards: Sequence[ListedShard],
    made: Made,
    progress: Progress,
    room: EngineRoom,
) -> None:
    """Caption what `read` finds in the shards with the engines of a group.

    Raises:
        EngineError, SourceError, RunError: as of `caption_missing`.
    """
    from factory.captioning.context import context_workers
    from factory.captioning.stages import CaptionBatches

    ray = room.ray
    watch = start_watch(ray)
    duty = Duty(
        CaptionBatches,
        {
            "group": group,
            "run": work.run,
            "watch": watch,
            "filters": work.asked_at_once,
            "judges": work.judge_fingerprints(),
        },
    )
    before, began = made.tokens["output"], time.monotonic()
    tasks, used = read_tasks(shards, EXPERT_TASK_ROWS if group.experts else ROWS_PER_TASK), made.used
    between = None
    if group.experts:
        engines = engine_count(group.first.view, ray)[1] if group.server is None else 1
        between = context_workers(ray, work.run, group.experts, engines, made.began_ms)
    with MergingParts(work.run) as merging:
        for batch in engine_reports(
            ray, tasks, read, lambda: _start(work, group, room), duty, used=used, between=between
        ):
            made.add(batch)
            merging.written()
            progress.update(made.images, made.tokens, *made.deaths_with(ray.get(watch.state.remote())))
    made.engine_deaths += ray.get(watch.state.remote())[0]
    tokens = made.tokens["output"] - before
    if tokens and not group.first.rung:
        pool = room.pool(work.engine_of(group.first))
        made.bare.append(beside_bare(work, group, pool, tokens, time.monotonic() - began, made.always_measure))


def _start(work: Work, group: EngineGroup, room: EngineRoom) -> EnginePool:
    """The engines of a group, and beside them, as far as they fit, those of the captioners after it and of judges."""
    pool = room.pool(work.engine_of(group.first))
    later = (
        [work.engine_of(other.first) for other in work.groups[work.groups.index(group) + 1 :]]
        if not group.first.rung
        else []
    )
    has_room = "num_gpus" not in pool.resources or not any(scorer.filter.holds_model for scorer in work.scorers)
    room.start([*later, *(work.engines_to_judge if has_room else ())])  # a filter's own model takes the GPU between
    return pool


def read_tasks(shards: Sequence[ListedShard], most_rows: int = ROWS_PER_TASK) -> list[dict[str, str]]:
    """The shards as JSON, small ones put together up to about `most_rows`: one row per Ray task."""
    tasks: list[list[dict[str, Any]]] = []
    rows = 0
    for listed in shards:
        count = listed.take or listed.rows or most_rows
        if not tasks or rows + count > most_rows:
            tasks.append([])
            rows = 0
        rows += count
        tasks[-1].append({**asdict(listed.shard), "take": listed.take})
    return [{"shards": json.dumps(task)} for task in tasks]
