"""The running engines of one model, as the process that drives a run sees them: which is least busy, which died."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from factory.engines.engine_actor import Duty, EngineActor
from factory.engines.ray_errors import typed_error
from factory.errors import EngineError
from filters.asking.server import Server

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.work.views import EngineGroup

MOST_DEATHS: Final = 20
"""Engines of a pool that may die one after the other without one batch finished in between. What kills them is found much
sooner where it is an image (`factory/engines/watch.py`)."""
LOST_STARTS: Final = 2
"""Engines that may vanish one after the other while they start, where there are several machines: one of those may be gone."""
LOST_STARTS_ALONE: Final = 1
"""The same on one machine. One, as a process that ends on its first work may take the word of its start with it."""
STOP_SECONDS: Final = 30.0
CALLS_AT_ONCE: Final = 10_000


@dataclass(eq=False)
class RunningEngine:
    """One engine: its actor, and the rows given to it that it has not reported."""

    actor: Any
    started: Any  # ObjectRef of the seconds that its start took
    rows: int = 0


@dataclass
class EnginePool:
    """The engines that serve one group of views, or the client of one server. They start at once and in the background.

    `least` and `most`: engines; more than `least` start while all are full. `rows`: that one engine is given at once.
    `resources`: of one engine, as Ray takes them.
    """

    ray: Any
    served: EngineGroup | Server
    least: int
    most: int
    rows: int
    resources: Mapping[str, float]
    logs: str | None
    engines: list[RunningEngine] = field(default_factory=list)
    starts: int = 0
    _lost_starts: int = 0
    _deaths: int = 0
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        while len(self.engines) < self.least:
            self._start()

    def _start(self) -> None:
        # Not restarted by Ray: an engine that cannot start would be tried for ever. `lost` starts another.
        options = {"max_restarts": 0, "max_concurrency": CALLS_AT_ONCE, **self.resources}
        actor = self.ray.remote(EngineActor).options(**options).remote(self.served, self.logs)
        self.engines.append(RunningEngine(actor, actor.started.remote()))
        self.starts += 1

    @property
    def at_once(self) -> int:
        """Rows that its engines are given at once."""
        return self.rows * len(self.engines)

    @property
    def name(self) -> str:
        """The model's name, for people."""
        return self.served.served_name if isinstance(self.served, Server) else self.served.first.view.model_name

    def assign(self, duty: Duty) -> tuple[int, list[Any]]:
        """A duty as `give` takes it: its number and its reference."""
        return next(self._numbers), [self.ray.put(duty)]

    def give(self, duty: tuple[int, list[Any]], block: Any, start: int, rows: int) -> tuple[RunningEngine, Any]:
        """Give the least busy engine some rows of a block. Returns the engine and the reference of its report."""
        engine = min(self.engines, key=lambda one: one.rows)
        if engine.rows >= self.rows and len(self.engines) < self.most:
            self._start()
            engine = self.engines[-1]
        engine.rows += rows
        return engine, engine.actor.work.remote(*duty, block, start, rows)

    def reported(self, engine: RunningEngine, rows: int) -> None:
        """An engine has finished rows that it was given."""
        engine.rows -= rows
        self._deaths = self._lost_starts = 0

    def lost(self, engine: RunningEngine, error: BaseException) -> None:
        """An engine is gone, by what `error` says; another starts. Called for each piece of work that was in it.

        Raises:
            EngineError: it could not start, or they die one after the other.
        """
        if engine not in self.engines:
            return
        self.engines.remove(engine)
        self.ray.kill(engine.actor)
        if not self._has_started(engine):
            self._lost_starts += 1
            if "<<factory-error" in str(error):
                raise typed_error(error) from None
            if self._lost_starts > (LOST_STARTS if len(self.ray.nodes()) > 1 else LOST_STARTS_ALONE):
                raise EngineError(
                    f"{self.name}: {self._lost_starts} processes of the engine ended while they started, as they do where memory "
                    "runs out; the logs of the run say more"
                )
        else:
            self._deaths += 1
            if self._deaths >= MOST_DEATHS:
                raise EngineError(
                    f"{self.name}: {self._deaths} engines died one after the other and finished nothing; the logs of the run "
                    "say more"
                )
        self._start()

    def _has_started(self, engine: RunningEngine) -> bool:
        done, _ = self.ray.wait([engine.started], timeout=0)
        if not done:
            return False
        try:
            self.ray.get(engine.started)
        except self.ray.exceptions.RayError:
            return False
        return True

    def close(self) -> None:
        """Stop its engines and free what they hold."""
        stopping = [engine.actor.stop.remote() for engine in self.engines if self._has_started(engine)]
        if stopping:
            self.ray.wait(stopping, num_returns=len(stopping), timeout=STOP_SECONDS)
        for engine in self.engines:
            self.ray.kill(engine.actor)
        self.engines.clear()
