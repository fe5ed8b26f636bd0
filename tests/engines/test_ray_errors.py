"""Typed errors through a real Ray."""

from pathlib import Path
from typing import Any

import pytest

from factory.engines.cluster import ray_cluster
from factory.engines.ray_errors import seals_errors
from factory.engines.stage import Actors, reports
from factory.errors import EngineError, FactoryError, RunError, SourceError


class Refuses:
    """An actor that cannot be made."""

    @seals_errors
    def __init__(self, kind: str) -> None:
        raise {"engine": EngineError, "run": RunError}[kind]('no such "thing"\nits last words, in {braces}')

    def __call__(self, batch: Any) -> Any:
        return batch


@seals_errors
def fails(batch: Any) -> Any:
    raise SourceError("part-7.tar: gone")


@seals_errors
def fills_the_disk(batch: Any) -> Any:
    raise OSError(28, "No space left on device", "run/captions")


def error_of(logs: Path, read: Any, actors: Actors | None) -> FactoryError:
    with ray_cluster(str(logs)) as ray, pytest.raises(FactoryError) as caught:
        list(reports(ray, [{"job": 1}], read, actors))
    return caught.value


def test_errors_keep_their_type_and_words_through_ray(tmp_path: Path) -> None:
    with ray_cluster(str(tmp_path)):  # one Ray for all of them
        for kind, expected in (("engine", EngineError), ("run", RunError)):
            pool = Actors(Refuses, {"kind": kind}, 1, 1, {"num_cpus": 1}, rows=None)
            error = error_of(tmp_path, None, pool)
            assert type(error) is expected
            assert str(error) == 'no such "thing"\nits last words, in {braces}'
        of_a_task = error_of(tmp_path, fails, None)
        assert type(of_a_task) is SourceError
        assert str(of_a_task) == "part-7.tar: gone"
        full = error_of(tmp_path, fills_the_disk, None)
        assert type(full) is RunError
        assert "run/captions: No space left on device" in str(full)
