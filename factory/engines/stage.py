"""The one Ray pipeline of the factory: jobs -> tasks that read -> actors that hold an engine or a model -> what they report.

Ray Data runs the tasks, and the actors of filters that hold a model (`reports`). Engines live longer than a pipeline: what
the tasks read is given to running ones (`engine_reports`), as references, so that no image passes through this process.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from factory.engines.engine_actor import Duty
from factory.engines.ray_errors import typed_error
from factory.engines.use import StageUse

if TYPE_CHECKING:
    import pyarrow as pa

    from factory.engines.pool import EnginePool, RunningEngine

BATCH_ROWS: Final = 64
"""Rows that an engine is given, and reports, as one."""
IN_FLIGHT: Final = 0.3
"""Share of Ray's object store that may hold what engines were given and have not reported."""


@dataclass(frozen=True)
class Actors:
    """A pool of actors that ends with its pipeline. `rows` of a batch; None: what a task gave, as it is."""

    kind: type
    arguments: Mapping[str, Any]
    least: int
    most: int
    resources: Mapping[str, float]
    rows: int | None


def reports(
    ray: Any,
    jobs: Sequence[Mapping[str, Any]],
    read: Callable[[pa.Table], Any] | None,
    actors: Actors | None = None,
    read_cpus: float = 1.0,
) -> Iterator[pa.Table]:
    """What the last stage reports of each batch, as it comes.

    Args:
        ray: as `factory.engines.cluster.ray_cluster` gives it.
        jobs: a row and a task each.
        read: makes tables of a job, in a task; None: the jobs go to the actors as they are.
        actors: take these tables; None: the tasks' own tables are the reports.
        read_cpus: of a reading task.

    Raises:
        FactoryError: the typed error of whichever stage failed.
    """
    rows = _read(ray, jobs, read, read_cpus)
    if actors is not None:
        rows = _through(ray, rows, actors)
    try:
        yield from rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except ray.exceptions.RayError as error:
        raise typed_error(error) from None


def engine_reports(
    ray: Any,
    jobs: Sequence[Mapping[str, Any]],
    read: Callable[[pa.Table], Any],
    pool: Callable[[], EnginePool],
    duty: Duty,
    read_cpus: float = 0.5,
    used: dict[str, float] | None = None,
    between: Actors | None = None,
) -> Iterator[pa.Table]:
    """What running engines report of each batch of what is read, as it comes.

    An engine that dies is replaced, and what it had is given again.

    Args:
        ray: as the room of the engines has it.
        jobs: a row and a task each.
        read: makes tables of a job, in a task.
        pool: gives the engines; called when there is the first row for them, so that none starts for nothing.
        duty: what they do with the tables.
        read_cpus: of a reading task.
        between: take what is read before the engines do, and give tables alike.
        used: where the stage's seconds are added at its end, by `factory.engines.use.PARTS`.

    Raises:
        FactoryError: the typed error of whichever part failed.
    """
    rows = _read(ray, jobs, read, read_cpus)
    if between is not None:
        rows = _through(ray, rows, between)
    events: queue.SimpleQueue[_Batch | _Report | BaseException | None] = queue.SimpleQueue()
    in_flight = _InFlight(int(IN_FLIGHT * ray.cluster_resources().get("object_store_memory", 0)))
    threading.Thread(target=_feed, args=(rows, events, in_flight), daemon=True).start()
    engines: EnginePool | None = None
    given: tuple[int, list[Any]] | None = None
    is_read, waiting = False, 0
    use = StageUse(ray, time.monotonic())
    try:
        while not is_read or waiting:
            event = events.get()
            if event is None:
                is_read = True
                use.all_is_read(engines.engines if engines is not None else ())
            elif isinstance(event, BaseException):
                raise event
            elif isinstance(event, _Batch):
                if engines is None or given is None:
                    engines = pool()
                    given = engines.assign(duty)
                    use.begin(engines.engines)
                waiting += 1
                _give(engines, given, event, events)
                in_flight.most_rows = engines.at_once
            else:
                assert engines is not None
                assert given is not None
                try:
                    report = event.future.result()
                except ray.exceptions.RayActorError as error:
                    engines.lost(event.engine, error)
                    _give(engines, given, event.batch, events)
                    continue
                engines.reported(event.engine, event.batch.rows)
                in_flight.remove(event.batch)
                waiting -= 1
                yield report
        if used is not None:
            for part, seconds in use.seconds(engines.engines if engines is not None else ()).items():
                used[part] = used.get(part, 0.0) + seconds
    except ray.exceptions.RayError as error:
        raise typed_error(error) from None
    finally:
        in_flight.stop()


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some rows of a block, and their share of its bytes."""

    block: Any  # ObjectRef of a table
    start: int
    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class _Report:
    """An engine has reported a batch, or is gone."""

    batch: _Batch
    engine: RunningEngine
    future: Future[Any]


class _InFlight:
    """What engines were given and have not reported. Reading waits while it is much."""

    def __init__(self, most_bytes: int) -> None:
        self.most_rows = 8 * BATCH_ROWS
        self._most_bytes = most_bytes
        self._rows = 0
        self._bytes = 0
        self._stopped = False
        self._changed = threading.Condition()

    def add(self, batch: _Batch) -> None:
        with self._changed:
            self._rows += batch.rows
            self._bytes += batch.size

    def remove(self, batch: _Batch) -> None:
        with self._changed:
            self._rows -= batch.rows
            self._bytes -= batch.size
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wait_for_room(self) -> bool:
        """False once nothing more is wanted."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._is_full())
            return not self._stopped

    def _is_full(self) -> bool:
        return self._rows >= self.most_rows or (self._bytes >= self._most_bytes and self._rows >= 2 * BATCH_ROWS)


def _feed(rows: Any, events: queue.SimpleQueue[Any], in_flight: _InFlight) -> None:
    """Cut what is read into batches, in a thread, as long as there is room for more."""
    try:
        for bundle in rows.iter_internal_ref_bundles():  # waits for the first one
            for batch in _batches(bundle):
                in_flight.add(batch)
                events.put(batch)
            if not in_flight.wait_for_room():
                return
        events.put(None)
    except BaseException as error:  # raised again by the thread that waits for events
        events.put(error)


def _batches(bundle: Any) -> Iterator[_Batch]:
    for entry, part in zip(bundle.blocks, bundle.slices or [None] * len(bundle.blocks), strict=True):
        first, end = (0, entry.metadata.num_rows) if part is None else (part.start_offset, part.end_offset)
        for start in range(first, end, BATCH_ROWS):
            rows = min(BATCH_ROWS, end - start)
            yield _Batch(entry.ref, start, rows, int((entry.metadata.size_bytes or 0) * rows / entry.metadata.num_rows))


def _give(pool: EnginePool, duty: tuple[int, list[Any]], batch: _Batch, events: queue.SimpleQueue[Any]) -> None:
    engine, report = pool.give(duty, batch.block, batch.start, batch.rows)
    report.future().add_done_callback(lambda future: events.put(_Report(batch, engine, future)))


def _through(ray: Any, rows: Any, actors: Actors) -> Any:
    """A dataset of what actors make of another's rows."""
    return rows.map_batches(
        actors.kind,
        fn_constructor_kwargs=dict(actors.arguments),
        batch_size=actors.rows,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=actors.least, max_size=actors.most),
        zero_copy_batch=True,
        **actors.resources,
    )


def _read(ray: Any, jobs: Sequence[Mapping[str, Any]], read: Callable[[pa.Table], Any] | None, cpus: float) -> Any:
    """A dataset of what the tasks make of the jobs."""
    rows = ray.data.from_items([dict(job) for job in jobs], override_num_blocks=len(jobs))
    if read is not None:
        rows = rows.map_batches(read, batch_size=None, batch_format="pyarrow", num_cpus=cpus)
    return rows
