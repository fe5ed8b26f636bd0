"""The one Ray pipeline of the factory: jobs -> tasks that read -> actors that hold an engine or a model -> what they report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.engines.ray_errors import typed_error

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Actors:
    """A pool of actors.

    `rows` of a batch; None: what a task gave, as it is. `waiting`: tasks given to an actor at once; `together`: how many of
    these run in it at once (its `__call__` is async). None: Ray Data's own choice.
    """

    kind: type
    arguments: Mapping[str, Any]
    least: int
    most: int
    resources: Mapping[str, float]
    rows: int | None
    waiting: int | None = None
    together: int | None = None


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
    rows = ray.data.from_items([dict(job) for job in jobs], override_num_blocks=len(jobs))
    if read is not None:
        rows = rows.map_batches(read, batch_size=None, batch_format="pyarrow", num_cpus=read_cpus)
    if actors is not None:
        rows = rows.map_batches(
            actors.kind,
            fn_constructor_kwargs=dict(actors.arguments),
            batch_size=actors.rows,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(
                min_size=actors.least,
                max_size=actors.most,
                max_tasks_in_flight_per_actor=actors.waiting,
                max_concurrent_calls_per_actor=actors.together,
            ),
            zero_copy_batch=True,
            **actors.resources,
        )
    try:
        yield from rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except ray.exceptions.RayError as error:
        raise typed_error(error) from None
