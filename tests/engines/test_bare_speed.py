"""Measuring the bare engine: what is asked of it, and when it is measured at all. The engine is a double that takes its time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from exports.storage import Storage
from factory.captioning.beside_bare import beside_bare
from factory.costs.bare_speeds import bare_key, known_speed, remember_speed
from factory.engines.bare_speed import BareLoad, BareSpeed, measure_bare
from factory.engines.contract import RequestRefused
from factory.recipe import Recipe
from factory.runs.run import Run
from factory.work.plan import make_plan
from factory.work.work import Work
from tests.fake_captions import caption_open
from tests.recipes import demo_recipe

SPEED = BareSpeed(1000.0, 50.0, 1.0, 5.0, 20.0, 2.0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    run = Run(Storage(str(tmp_path_factory.mktemp("run") / "run")))
    plan = make_plan(Recipe.model_validate(demo_recipe()), run)
    caption_open(plan)
    return plan.work


class Double:
    """Takes 20 ms for a request, and as long for each of its tokens."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, tuple[int, int]]] = []

    async def generate_exactly(self, ready: Any, prompt: str, image: Any, image_id: str, tokens: int) -> int:
        self.asked.append((image_id, tokens, image().size))
        await asyncio.sleep(0.02 * (1 + tokens))
        return tokens

    def render_image(self, ready: Any, prompt: str, image: Image.Image) -> int:
        return 40


def load_of(work: Work, requests: int = 16) -> BareLoad:
    return BareLoad(work.views[0], 64, 48, 10, requests)


def test_the_bare_engine_gets_as_many_tokens_and_no_image_twice(work: Work) -> None:
    engine = Double()
    speed = asyncio.run(measure_bare(engine, load_of(work)))  # type: ignore[arg-type]
    assert speed is not None
    lengths = [tokens for _, tokens, _ in engine.asked]
    assert lengths.count(10) == 16
    assert lengths.count(1) == 1 + 4
    assert len({name for name, _, _ in engine.asked}) == len(engine.asked)
    assert {size for _, _, size in engine.asked} == {(64, 48)}
    assert speed.tokens_per_s == pytest.approx(10 * speed.images_per_s)
    assert speed.tokens_per_s <= 16 * 10 / 0.22
    assert speed.image_ms > 0


def test_an_engine_that_refuses_is_not_measured(work: Work) -> None:
    class Refusing(Double):
        async def generate_exactly(self, *_: Any) -> int:
            raise RequestRefused("too long")

    assert asyncio.run(measure_bare(Refusing(), load_of(work))) is None  # type: ignore[arg-type]


def test_a_speed_is_known_for_about_the_same_size_and_length(work: Work) -> None:
    load = load_of(work)
    assert known_speed(load) is None
    remember_speed(load, SPEED)
    assert known_speed(replace(load, requests=999)) == SPEED
    assert bare_key(replace(load, tokens=40)) != bare_key(load)
    assert bare_key(replace(load, width=640)) != bare_key(load)
    remember_speed(load, replace(SPEED, tokens_per_s=0.0))  # no speed, so the one before counts
    assert known_speed(load) == SPEED


class Pool:
    """Running engines as `beside_bare` sees them; `measured` counts measurements."""

    rows = 64

    def __init__(self) -> None:
        self.measured: list[BareLoad] = []
        self.engines = [SimpleNamespace(actor=SimpleNamespace(bare=SimpleNamespace(remote=self._bare)))]
        self.ray = SimpleNamespace(get=lambda answer: answer, exceptions=SimpleNamespace(RayError=RuntimeError))

    def _bare(self, load: BareLoad) -> BareSpeed:
        self.measured.append(load)
        return SPEED


def test_a_bare_engine_is_measured_once_and_only_where_that_is_cheap_or_asked_for(work: Work) -> None:
    pool, group = Pool(), work.groups[0]
    short = beside_bare(work, group, pool, 500, 2.0, always=False)  # type: ignore[arg-type]
    assert (short.bare, pool.measured) == (None, [])

    asked = beside_bare(work, group, pool, 500, 2.0, always=True)  # type: ignore[arg-type]
    assert asked.bare == SPEED
    assert asked.measuring == SPEED.seconds
    assert asked.ideal_seconds == pytest.approx(0.5)
    assert len(pool.measured) == 1
    assert pool.measured[0].requests >= 16

    again = beside_bare(work, group, pool, 500, 2.0, always=True)  # type: ignore[arg-type]
    assert (again.bare, again.measuring, len(pool.measured)) == (SPEED, 0.0, 1)


def test_a_long_run_measures_by_itself(work: Work) -> None:
    pool = Pool()
    long = beside_bare(work, work.groups[0], pool, 1_000_000, 600.0, always=False)  # type: ignore[arg-type]
    assert long.bare == SPEED
    assert len(pool.measured) == 1
