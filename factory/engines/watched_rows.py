"""The rows that are in an engine, as the watch that outlives it knows them (factory/engines/watch.py), seen from its process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from factory.errors import EngineError

if TYPE_CHECKING:
    from factory.engines.watch import Past


def start_watch(ray: Any) -> Any:
    """A watch, as an actor on this process's node: it must outlive the nodes that engines run on."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from factory.engines.watch import EngineWatch

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)(EngineWatch).remote()


class WatchedRows:
    """What a duty does with one engine, so that its deaths are put down to the rows that were in it.

    Rows run together, or one of them with nothing else in the engine: one that was there when engines died. A row is whatever
    the duty gives a name of its own.
    """

    def __init__(self, watch: Any, log: Path) -> None:
        """`watch`: from `start_watch`; `log`: the engine's, whose last words are told."""
        self.watch = watch
        self.log = log
        self.open: set[str] = set()
        self._dead = False
        self._door = asyncio.Lock()
        self._inside = 0
        self._left = asyncio.Condition()

    async def begin(self, rows: Iterable[str]) -> Past:
        """Note rows as in flight, but for those that are written. What is known about them."""
        wanted = list(rows)
        past: Past = await self.watch.begin.remote(wanted)
        self.open.update(row for row in wanted if row not in past.written)
        return past

    async def end(self, states: Mapping[str, str], answered: int) -> None:
        """Rows that are written, with their state; `answered` requests about them."""
        self.open.difference_update(states)
        await self.watch.end.remote(dict(states), answered)

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """For rows that may run beside others; waits while one runs alone."""
        async with self._door:
            self._inside += 1
        try:
            yield
        finally:
            async with self._left:
                self._inside -= 1
                self._left.notify_all()

    @asynccontextmanager
    async def alone(self, row: str) -> AsyncIterator[None]:
        """For a row that runs with nothing else in the engine. Where the engine survives it, it was not its doing."""
        async with self._door:
            async with self._left:
                await self._left.wait_for(lambda: self._inside == 0)
            await self.watch.try_alone.remote(row)
            yield
            await self.watch.survived.remote(row)

    async def died(self, message: str) -> NoReturn:
        """The engine is gone: tell the watch, then end this process so that another starts.

        Raises:
            EngineError: engines died so often and answered nothing in between that the run stops.
        """
        from factory.engines.logs import last_words

        if self._dead:  # every batch in the engine hears of the same death; the first one reports it
            await asyncio.Event().wait()
        self._dead = True
        words = last_words(self.log) or message
        fatal = await self.watch.died.remote(sorted(self.open), f"{message}: {words}" if words != message else message)
        if fatal:
            raise EngineError(fatal)
        end_process()


def suspects(rows: Sequence[str], past: Past) -> list[str]:
    """Those that run alone, as they were in several engines that died."""
    from factory.engines.watch import ALONE_AFTER

    return [row for row in rows if row not in past.guilty and past.deaths.get(row, 0) >= ALONE_AFTER]


def guilt(row: str, past: Past) -> str:
    """Why a row is not tried any more, for its `detail` or `problem`."""
    return f"the engine died {past.deaths[row]} times with this image, the last time with it alone"


def end_process() -> NoReturn:
    """Kill this process and its children at once, with no clean-up that could hang on a dead engine."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(1)
