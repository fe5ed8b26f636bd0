"""The engines of a run: each model's is started once, where it is first needed or before, and kept until its last need.

Engines that fit beside each other run at the same time. Where they do not, the one that was used longest ago ends before
another starts. What fits: on GPUs, an engine has its GPUs to itself; on processors, its weights, its cache and its
processes (`factory/engines/memory.py`) fit into the memory that was free when the first started, and a CPU is left to read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from typing import Any

from factory.engines.cluster import actor_resources, engine_count, most_engines, ray_cluster
from factory.engines.memory import engine_bytes, free_bytes
from factory.engines.pool import EnginePool
from factory.work.views import EngineGroup
from filters.asking.server import Server

READING_CPUS = 1.0
SERVER_CPUS = 0.5
SERVER_ROWS = 256
LEAST_ROWS = 512


def _address(server: Server) -> str:
    return f"{server.endpoint} {server.served_name}"


class EngineRoom:
    """Hands out running engines, and Ray, which starts with the first that needs it. A context manager: all end with it."""

    def __init__(self, engines: Sequence[EngineGroup], logs: str | None) -> None:
        """`engines`: all that may be asked for, as `Work.engines` has them. `logs`: where their logs go; see `Work.logs`.

        `starts` counts, of `ray` and of `engines`, those that have ended. `used`: seconds of stages after captioning, by
        `factory.engines.use.PARTS`.
        """
        self.logs = logs
        self.starts = {"ray": 0, "engines": 0}
        self.used: dict[str, float] = {}
        self._most = sum(most_engines(group.first.view) for group in engines)
        self._ray: Any = None
        self._stack = ExitStack()
        self._pools: dict[str, EnginePool] = {}  # by key of the group, or address of the server; last used last
        self._free_bytes: int | None = None

    def __enter__(self) -> EngineRoom:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all engines, and Ray if it was started here. What is asked for later starts again."""
        self.keep(())
        self._ray = None
        self._stack.close()

    def busy(self) -> list[dict[str, Any]]:
        """Of each running engine: `model`, `waiting` (rows that it was given and has not finished) and `most` (it is given at once)."""
        pools = list(self._pools.values())
        return [
            {"model": pool.name, "waiting": engine.rows, "most": pool.rows}
            for pool in pools
            for engine in list(pool.engines)
        ]

    @property
    def ray(self) -> Any:
        """Ray, started or joined."""
        if self._ray is None:
            self._ray = self._stack.enter_context(ray_cluster(self.logs, self._most))
            self.starts["ray"] += 1
        return self._ray

    def pool(self, group: EngineGroup) -> EnginePool:
        """The running engines of a group, started if need be; others end where there is no room beside them.

        Raises:
            EngineError: it needs more GPUs than there are.
        """
        if group.server is not None:
            return self.server(group.server)
        pool = self._pools.pop(group.key, None)
        if pool is None:
            while self._pools and not self._fits(group):
                self._end(next(iter(self._pools)))
            pool = self._start(group)
        self._pools[group.key] = pool
        return pool

    def server(self, server: Server) -> EnginePool:
        """The client of a server: one for a run, so that its limits hold."""
        key = _address(server)
        if key not in self._pools:
            resources = {"num_cpus": SERVER_CPUS}
            rows = max(SERVER_ROWS, 4 * server.at_once)
            self._pools[key] = EnginePool(self.ray, server, 1, 1, rows, resources, self.logs)
        return self._pools[key]

    def start(self, groups: Sequence[EngineGroup]) -> None:
        """Start engines that will be needed, in this order, as far as they fit beside each other. Waits for none."""
        for group in groups:
            if group.key in self._pools or group.server is not None:
                continue
            if self._pools and not self._fits(group):
                return
            self._pools[group.key] = self._start(group)

    def keep(self, groups: Collection[EngineGroup]) -> None:
        """End all engines but these."""
        kept = {group.key if group.server is None else _address(group.server) for group in groups}
        for key in [key for key in self._pools if key not in kept]:
            self._end(key)

    def free_gpus(self) -> None:
        """End the engines that hold a GPU, so that something else can have it."""
        for key in [key for key, pool in self._pools.items() if pool.resources.get("num_gpus")]:
            self._end(key)

    def _start(self, group: EngineGroup) -> EnginePool:
        view = group.first.view
        ray = self.ray
        if self._free_bytes is None:
            self._free_bytes = free_bytes()
        least, most = engine_count(view, ray)
        resources = actor_resources(view, ray)
        together = int(view.engine.get("max_num_seqs", 1024 if "num_gpus" in resources else 256))  # vLLM's defaults
        # Four times as many images as it runs together, so that it never waits for one.
        return EnginePool(ray, group, least, most, max(LEAST_ROWS, 4 * together), resources, self.logs)

    def _end(self, key: str) -> None:
        pool = self._pools.pop(key)
        pool.close()
        if isinstance(pool.served, EngineGroup):
            self.starts["engines"] += pool.starts

    def _fits(self, group: EngineGroup) -> bool:
        """Whether the engines of a group can run beside those that do."""
        ray, view = self.ray, group.first.view
        have = ray.cluster_resources()
        resources, (least, _) = actor_resources(view, ray), engine_count(view, ray)
        for name, kind, spare in (("num_cpus", "CPU", READING_CPUS), ("num_gpus", "GPU", 0.0)):
            taken = sum(pool.resources.get(name, 0.0) * len(pool.engines) for pool in self._pools.values())
            if taken + resources.get(name, 0.0) * least + spare > have.get(kind, 0.0):
                return False
        if "num_gpus" in resources or len(ray.nodes()) > 1 or self._free_bytes is None:
            return True
        running = [pool.served for pool in self._pools.values() for _ in pool.engines]
        sizes = [engine_bytes(one) for one in [*running, *[group] * least] if isinstance(one, EngineGroup)]
        return None not in sizes and sum(size or 0 for size in sizes) <= self._free_bytes
