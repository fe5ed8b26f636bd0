"""Shards that were read before and look otherwise now are looked through first, without an engine: most hold nothing new."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from factory.captioning.caption_missing import read_tasks
from factory.engines.ray_errors import seals_errors
from factory.engines.room import EngineRoom
from factory.runs.run import Run
from factory.sources.shard_keys import ShardKeys
from factory.sources.source import ImageSource, ListedShard, Shard
from factory.work.plan import Plan, plan_again

if TYPE_CHECKING:
    import pyarrow as pa

    from factory.progress import Progress

HERE_ROWS: Final = 2_000
"""Rows looked through in this process; more are worth the seconds in which Ray starts."""


def compare_changed(plan: Plan, progress: Progress, room: EngineRoom) -> Plan:
    """Look through the shards that may have changed, and plan again with what they hold; many of them with the room's Ray.

    Raises SourceError: the source is gone.
    """
    changed = plan.doubtful_shards
    if not changed or not plan.work.views:
        return plan
    progress.phase(f"comparing {plan.to_compare:,} rows with what is done")
    max_bytes = max(ready.view.image.max_bytes for ready in plan.work.views)
    look = LookThrough(plan.source, plan.work.run, plan.work.reading, max_bytes)
    for _ in _looked_through(look, changed, room):
        pass
    return plan_again(plan)


def _looked_through(look: LookThrough, shards: list[ListedShard], room: EngineRoom) -> Iterator[int]:
    tasks = read_tasks(shards)
    if sum(one.take or one.rows or HERE_ROWS for one in shards) <= HERE_ROWS:
        for task in tasks:
            yield look.read(task["shards"])
        return
    from factory.engines.stage import reports

    for batch in reports(room.ray, tasks, look, read_cpus=0.5):
        yield from (row["rows"] for row in batch.to_pylist())


@dataclass(frozen=True)
class LookThrough:
    """Reads shards and writes down what they hold. A Ray task."""

    source: ImageSource
    run: Run
    reading: str
    max_bytes: int

    @seals_errors
    def __call__(self, batch: Any) -> pa.Table:
        """Rows with `shards`, as of `ReadShards` -> rows with `rows`, the number of rows read."""
        import pyarrow as pa

        return pa.table({"rows": [self.read(task) for task in batch["shards"].to_pylist()]})

    def read(self, task: str) -> int:
        """Read the shards of a task. Returns how many rows they have."""
        frames = []
        for spec in json.loads(task):
            take = spec.pop("take")
            shard = Shard(**spec)
            keys = ShardKeys()
            for number, row in enumerate(self.source.read(shard, self.max_bytes)):
                if number == take:
                    break
                keys.add([row])
            frames.append(keys.frame(shard, take, self.reading))
        self.run.append("shards", pl.concat(frames))
        return sum(frame["rows"][0] for frame in frames)
