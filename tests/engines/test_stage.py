"""The Ray pipeline with running engines: real Ray, real processes, a real server; what is done with them is drawn here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from factory.engines.cluster import ray_cluster
from factory.engines.engine_actor import Duty
from factory.engines.pool import EnginePool
from factory.engines.ray_errors import seals_errors
from factory.engines.stage import BATCH_ROWS, Actors, engine_reports
from factory.engines.use import PARTS
from factory.errors import EngineError, RunError, SourceError
from filters.asking.questions import Endpoint
from tests.judge_server import Server, serving


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with ray_cluster(str(tmp_path_factory.mktemp("ray")), 4) as started:
        yield started


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as served:
        yield served


def pool_of(ray: Any, server: Server, folder: Path, least: int = 1, most: int = 1, model: str = "judge") -> EnginePool:
    endpoint = Endpoint(endpoint=server.url, model=model)
    return EnginePool(ray, endpoint, least, most, 2 * BATCH_ROWS, {"num_cpus": 0.1}, str(folder))


def numbers(batch: pa.Table) -> Iterator[pa.Table]:
    """Each job's numbers, in pieces."""
    for first, last in zip(batch["first"].to_pylist(), batch["last"].to_pylist(), strict=True):
        for start in range(first, last, 100):
            yield pa.table({"number": list(range(start, min(last, start + 100)))})


JOBS = [{"first": 0, "last": 250}, {"first": 250, "last": 300}, {"first": 300, "last": 301}]


class Reports:
    """Reports the numbers that it is given, and by which process."""

    def __init__(self, engine: Any, log: Path) -> None:
        self.calls = 0

    async def __call__(self, batch: pa.Table) -> pa.Table:
        self.calls += 1
        assert batch.num_rows <= BATCH_ROWS
        return batch.append_column("process", [[os.getpid()] * batch.num_rows])


class DiesOnce(Reports):
    """Ends its process where it first meets a number, as an engine does that dies."""

    def __init__(self, engine: Any, log: Path, number: int, met: str) -> None:
        super().__init__(engine, log)
        self.number, self.met = number, Path(met)

    async def __call__(self, batch: pa.Table) -> pa.Table:
        if self.number in batch["number"].to_pylist() and not self.met.exists():
            self.met.touch()
            os._exit(1)
        return await super().__call__(batch)


class Looks:
    """A worker between reading and engines: says when it has looked at its numbers."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        time.sleep(0.5)
        return batch.append_column("looked", [[time.time()] * batch.num_rows])


class Times(Reports):
    async def __call__(self, batch: pa.Table) -> pa.Table:
        return (await super().__call__(batch)).append_column("reported", [[time.time()] * batch.num_rows])


class Refuses(Reports):
    async def __call__(self, batch: pa.Table) -> pa.Table:
        raise EngineError('it answers "nothing",\nin {braces}')


def reported(ray: Any, pool: EnginePool, duty: Duty, jobs: list[dict[str, int]] = JOBS) -> pa.Table:
    return pa.concat_tables(engine_reports(ray, jobs, numbers, lambda: pool, duty))


def test_every_row_that_is_read_is_reported_once_and_the_next_pipeline_has_the_same_engine(
    ray: Any, server: Server, tmp_path: Path
) -> None:
    pool = pool_of(ray, server, tmp_path)
    first = reported(ray, pool, Duty(Reports, {}))
    second = reported(ray, pool, Duty(Reports, {}))
    pool.close()

    assert sorted(first["number"].to_pylist()) == list(range(301))
    assert set(first["process"].to_pylist()) == set(second["process"].to_pylist())
    assert pool.starts == 1


def test_a_process_that_ends_is_replaced_and_what_it_had_is_given_again(
    ray: Any, server: Server, tmp_path: Path
) -> None:
    pool = pool_of(ray, server, tmp_path)
    duty = Duty(DiesOnce, {"number": 270, "met": str(tmp_path / "met")})
    found = reported(ray, pool, duty)
    pool.close()

    assert sorted(found["number"].to_pylist()) == list(range(301))
    assert pool.starts == 2


def test_full_engines_get_help_up_to_the_most(ray: Any, server: Server, tmp_path: Path) -> None:
    pool = pool_of(ray, server, tmp_path, least=1, most=2)
    found = reported(ray, pool, Duty(Reports, {}), [{"first": 0, "last": 1000}])
    pool.close()

    assert sorted(found["number"].to_pylist()) == list(range(1000))
    assert pool.starts <= 2


def test_the_seconds_of_a_stage_are_all_told_by_part(ray: Any, server: Server, tmp_path: Path) -> None:
    pool = pool_of(ray, server, tmp_path)
    used = {"start": 1.0}  # of a stage before it
    began = time.monotonic()
    list(engine_reports(ray, JOBS, numbers, lambda: pool, Duty(Reports, {}), used=used))
    passed = time.monotonic() - began
    pool.close()

    assert set(used) == set(PARTS)
    assert all(value >= 0 for value in used.values())
    assert 0.5 * passed <= sum(used.values()) - 1.0 <= passed


def test_workers_between_reading_and_engines_stream(ray: Any, server: Server, tmp_path: Path) -> None:
    pool = pool_of(ray, server, tmp_path)
    jobs = [{"first": start, "last": start + 10} for start in range(0, 200, 10)]
    between = Actors(Looks, {}, 1, 1, {"num_cpus": 0.0}, rows=None)
    found = pa.concat_tables(engine_reports(ray, jobs, numbers, lambda: pool, Duty(Times, {}), between=between))
    pool.close()

    assert sorted(found["number"].to_pylist()) == list(range(200))
    assert min(found["reported"].to_pylist()) < max(found["looked"].to_pylist()) - 1


def test_where_nothing_is_read_no_engine_is_asked_for(ray: Any) -> None:
    def no_engine() -> EnginePool:
        raise AssertionError("an engine for nothing")

    assert list(engine_reports(ray, [{"first": 0, "last": 0}], numbers, no_engine, Duty(Reports, {}))) == []


def test_what_an_engine_refuses_stops_the_pipeline_with_its_own_words(ray: Any, server: Server, tmp_path: Path) -> None:
    pool = pool_of(ray, server, tmp_path)
    with pytest.raises(EngineError) as caught:
        reported(ray, pool, Duty(Refuses, {}))
    pool.close()
    assert str(caught.value) == 'it answers "nothing",\nin {braces}'


def test_an_engine_that_cannot_start_is_not_tried_for_ever(ray: Any, server: Server, tmp_path: Path) -> None:
    pool = pool_of(ray, server, tmp_path, model="other")
    with pytest.raises(EngineError, match="serves judge, not other"):
        reported(ray, pool, Duty(Reports, {}))
    pool.close()


class EndsItsProcess:
    """What an engine is started for: the process that reads it ends, as where memory runs out."""

    first = SimpleNamespace(view=SimpleNamespace(model_name="large"))

    def __reduce__(self) -> Any:
        return os._exit, (1,)


def test_a_process_that_ends_while_it_starts_is_tried_once_more_and_then_told(ray: Any, tmp_path: Path) -> None:
    ending: Any = EndsItsProcess()
    pool = EnginePool(ray, ending, 1, 1, 2 * BATCH_ROWS, {"num_cpus": 0.1}, str(tmp_path))
    with pytest.raises(EngineError, match=r"large: 2 processes of the engine ended while they started"):
        reported(ray, pool, Duty(Reports, {}))
    pool.close()


def test_a_source_that_fails_stops_the_pipeline_with_its_own_words(ray: Any, server: Server, tmp_path: Path) -> None:
    @seals_errors
    def gone(batch: pa.Table) -> Iterator[pa.Table]:
        yield from numbers(batch)
        raise SourceError("part-7.tar: gone")

    pool = pool_of(ray, server, tmp_path)
    with pytest.raises(SourceError, match=r"part-7\.tar: gone"):
        list(engine_reports(ray, JOBS, gone, lambda: pool, Duty(Reports, {})))
    pool.close()


def test_a_full_disk_is_told_as_such(ray: Any, server: Server, tmp_path: Path) -> None:
    class Fills(Reports):
        async def __call__(self, batch: pa.Table) -> pa.Table:
            raise OSError(28, "No space left on device", "run/captions")

    pool = pool_of(ray, server, tmp_path)
    with pytest.raises(RunError, match="run/captions: No space left on device"):
        reported(ray, pool, Duty(Fills, {}))
    pool.close()


def test_what_an_engine_may_take_is_told_from_its_files_and_what_is_free_from_the_container(tmp_path: Path) -> None:
    from factory.engines.memory import GIB, PROCESSES, engine_bytes, free_bytes
    from factory.recipe import Recipe
    from factory.work.views import engine_groups, ready_views
    from tests.recipes import demo_recipe

    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"architectures": ["A"]}))
    (model / "model.safetensors").write_bytes(bytes(1000))
    raw = demo_recipe()
    raw["views"][0] |= {"model": str(model), "engine": {"kv_cache_memory_bytes": GIB}}
    (group,) = engine_groups(ready_views(Recipe.model_validate(raw)))
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")

    assert engine_bytes(group) == 2 * 1000 + GIB + PROCESSES
    assert free_bytes(tmp_path) == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(tmp_path) > 3000
