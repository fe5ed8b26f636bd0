"""Captioning what is missing: read -> prepare -> caption -> write, as one Ray Data pipeline per engine."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from factory.engines.cluster import actor_resources, engine_count, most_engines, ray_cluster
from factory.engines.stage import Actors, reports
from factory.recipe import View
from factory.sources.source import ListedShard
from factory.work.plan import Plan
from factory.work.views import EngineGroup
from factory.work.work import Work

if TYPE_CHECKING:
    from factory.captioning.stages import ReadShards
    from factory.progress import Progress

BATCH_IMAGES = 64
BATCHES_PER_TASK = 4  # Ray Data's own limit of what runs at once within one of its tasks
ROWS_PER_TASK = 256


@dataclass
class Made:
    """What captioning did: (image, view) pairs and quarantined images by status, tokens, deaths of engines."""

    images: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    engine_deaths: int = 0


def caption_missing(plan: Plan, made: Made, progress: Progress) -> None:
    """Caption the open shards of a plan, of which there is at least one.

    Raises:
        EngineError: the engine cannot work at all; its own message.
        SourceError: the source is gone. RunError: the run directory cannot be written.
    """
    from factory.captioning.stages import ReadShards

    work = plan.work
    progress.phase("starting the engine")
    with ray_cluster(work.logs, max(most_engines(group.first.view) for group in work.groups)) as ray:
        finished = plan.finished.done
        done = ray.put((finished.high, finished.low))
        for group in work.groups:
            read = ReadShards(plan.source, group, work.run, done, work.reading)
            caption_group(work, group, read, plan.open_shards, ray, made, progress)


def caption_group(
    work: Work,
    group: EngineGroup,
    read: ReadShards,
    shards: Sequence[ListedShard],
    ray: Any,
    made: Made,
    progress: Progress,
) -> None:
    """Caption what `read` finds in the shards with the engines of a group.

    Raises:
        EngineError, SourceError, RunError: as of `caption_missing`.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from factory.captioning.stages import CaptionBatches
    from factory.engines.watch import EngineWatch

    view = group.first.view
    least, most = engine_count(view, ray)
    # On the driver's node: it must outlive the nodes that engines run on.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    watch = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)(EngineWatch).remote()
    resources = actor_resources(view, ray)
    tasks = _tasks_in_engine(view, "num_gpus" in resources)
    actors = Actors(
        CaptionBatches,
        {
            "group": group,
            "run": work.run,
            "watch": watch,
            "log": work.logs,
            "filters": work.asked_at_once,
            "judges": work.judge_fingerprints(),
        },
        least,
        most,
        resources,
        rows=BATCH_IMAGES,
        waiting=tasks + 2,
        together=tasks,
    )
    for batch in reports(ray, read_tasks(shards), read, actors, read_cpus=0.5):
        for row in batch.to_pylist():
            made.images[row["status"]] += row["rows"]
            made.tokens["prompt"] += row["prompt_tokens"]
            made.tokens["output"] += row["output_tokens"]
        deaths, words = ray.get(watch.state.remote())
        progress.update(made.images, made.tokens, made.engine_deaths + deaths, words)
    made.engine_deaths += ray.get(watch.state.remote())[0]


def _tasks_in_engine(view: View, has_gpu: bool) -> int:
    """Tasks given to an engine at once: four times as many images as it runs together, so that it never waits for one."""
    together = int(view.engine.get("max_num_seqs", 1024 if has_gpu else 256))  # vLLM's defaults
    return max(2, math.ceil(4 * together / (BATCHES_PER_TASK * BATCH_IMAGES)))


def read_tasks(shards: Sequence[ListedShard]) -> list[dict[str, str]]:
    """The shards as JSON, small ones put together: one row per Ray task."""
    tasks: list[list[dict[str, Any]]] = []
    rows = 0
    for listed in shards:
        count = listed.take or listed.rows or ROWS_PER_TASK
        if not tasks or rows + count > ROWS_PER_TASK:
            tasks.append([])
            rows = 0
        rows += count
        tasks[-1].append({**asdict(listed.shard), "take": listed.take})
    return [{"shards": json.dumps(task)} for task in tasks]
