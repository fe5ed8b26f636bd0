"""Quotes: from what a run cost, for cards that are not here, and from a sample that is like the source."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from exports.storage import Storage
from factory.costs.machine import machine_id
from factory.costs.quoted import quoted
from factory.costs.run_costs import RunCosts, cost_key, costs_of_json, remember_costs, source_key
from factory.errors import RunError
from factory.outcome import costs_of as costs_of_outcome
from factory.quoting.hardware import CARDS, card_named
from factory.quoting.known import known_lines
from factory.quoting.probe import _slopes
from factory.quoting.quote_recipe import quote_recipe
from factory.quoting.sample import draw_sample, write_sample
from factory.recipe import Recipe
from factory.runs.run import METRICS, Run
from factory.work.plan import Plan, make_plan
from tests.costs.test_costs import COSTS
from tests.fake_captions import caption_open, run_fake
from tests.pictures import encoded, picture
from tests.recipes import demo_recipe


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_CACHE", str(tmp_path / "cache"))


def plan_of(folder: Path, **changes: Any) -> Plan:
    recipe = Recipe.model_validate(demo_recipe(**changes))
    return make_plan(recipe, Run(Storage(str(folder / "run"))), scratch=Storage(str(folder / "listing")))


def costs_of(plan: Plan, **changes: Any) -> RunCosts:
    known = {"key": cost_key(plan.work), "source": source_key(plan.work), "machine": machine_id()}
    return replace(COSTS, **(known | changes))


def test_a_quote_from_a_run_has_all_that_was_asked_for(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    ended = Run(Storage(str(tmp_path / "ended")))
    ended.storage.make()
    ended.write_json(METRICS, {"costs": asdict(costs_of(plan))})
    quotes = quote_recipe(plan, 20_000, ["h100", "H200"], 2.5, ended)
    data = json.loads(json.dumps(quotes.as_json(), allow_nan=False))
    assert data["images"] == 20_000
    here, h100, _ = data["quotes"]
    assert [one["reasoned"] for one in data["quotes"]] == [False, True, True]
    assert here["seconds"][1] == pytest.approx(40 + 2000 + 2 + 99 + 1 + 19.8 + 2, rel=0.01)
    assert here["money"][1] == pytest.approx(here["seconds"][1] / 3600 * 2.5, rel=1e-4)
    assert here["per_kept_caption"][1] == pytest.approx(here["money"][1] / 30_000, rel=1e-2)
    assert h100["gpu_hours"][1] > 0
    for quote in data["quotes"]:
        for name in ("seconds", "gpu_hours", "money", "per_kept_caption", "stored_bytes", "sent_bytes"):
            low, mid, high = quote[name]
            assert low <= mid <= high, name
    assert any("a kept caption" in line for line in quotes.lines())


def test_the_run_that_follows_says_how_wrong_its_quote_was(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    ended = Run(Storage(str(tmp_path / "ended")))
    ended.storage.make()
    ended.write_json(METRICS, {"costs": asdict(costs_of(plan))})
    quote_recipe(plan, 200, of_run=ended)
    took = costs_of(plan, seconds={"total": 130.0})
    found = quoted(plan.work, took)
    assert found is not None
    assert found.by == "quote"
    assert found.error == pytest.approx(0.5)
    assert "outside of it" in found.line
    other = quoted(
        plan.work, replace(took, images=100)
    )  # another number of images was not quoted, and there is no past
    assert other is None


def test_the_past_of_this_machine_tells_without_a_probe(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert "takes a probe" in known_lines(plan)[0]
    remember_costs(costs_of(plan, machine="another"))
    remember_costs(costs_of(plan, key="another"))
    assert "takes a probe" in known_lines(plan)[0]
    remember_costs(costs_of(plan))
    assert "for 24 images, by 1 run of such recipes" in known_lines(plan)[0]
    assert "by 1 earlier run" in quote_recipe(plan).quotes[0].by


def test_what_decides_the_cost_of_an_image_is_another_key_and_a_name_is_not(tmp_path: Path) -> None:
    key = cost_key(plan_of(tmp_path / "a").work)
    assert cost_key(plan_of(tmp_path / "b", name="other", seed=9).work) == key
    assert cost_key(plan_of(tmp_path / "c", source={"kind": "demo", "scenes": 3}).work) == key
    assert cost_key(plan_of(tmp_path / "d", filters=["length", "repetition"]).work) != key
    view = demo_recipe()["views"][0] | {"sampling": {"max_tokens": 8}}
    assert cost_key(plan_of(tmp_path / "e", views=[view]).work) != key


def test_a_run_of_another_recipe_or_without_costs_is_no_source_of_a_quote(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    ended = Run(Storage(str(tmp_path / "ended")))
    ended.storage.make()
    with pytest.raises(RunError, match="has no costs"):
        quote_recipe(plan, of_run=ended)
    ended.write_json(METRICS, {"costs": asdict(costs_of(plan, key="another"))})
    with pytest.raises(RunError, match="of another recipe"):
        quote_recipe(plan, of_run=ended)
    with pytest.raises(RunError, match="--hardware: 'tpu' is not known; known are h100"):
        quote_recipe(plan, hardware=["tpu"])


def test_cards_are_known_by_our_name_and_by_their_own() -> None:
    assert card_named("NVIDIA H100 80GB HBM3") is CARDS["h100"]
    assert card_named("NVIDIA A100-SXM4-80GB") is CARDS["a100"]
    assert card_named("NVIDIA L40S") is CARDS["l40s"]
    assert card_named("NVIDIA GeForce RTX 3060") is None
    for card in CARDS.values():
        assert card.price.low <= card.price.mid <= card.price.high
        assert "20" in card.price_source  # says when


def test_a_run_tells_its_cost_in_a_form_that_is_read_again(tmp_path: Path) -> None:
    release = {"to": str(tmp_path / "released"), "license": "cc0-1.0", "image_license": "cc0-1.0"}
    outcome, _ = run_fake(demo_recipe(release=release), str(tmp_path / "run"))
    costs = costs_of_outcome(outcome)
    assert costs_of_json(json.loads(json.dumps(asdict(costs), allow_nan=False))) == costs
    assert (costs.images, costs.captions) == (24, 24)
    assert costs.key == cost_key(outcome.work)
    assert costs.released_bytes > 0
    assert costs.stored_bytes > 0


def test_a_sample_has_every_size_in_its_share(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(60):
        side = 16 if number < 48 else 160
        (folder / f"{number:03}.png").write_bytes(encoded(picture(side, side), "PNG"))
    (folder / "099.png").write_bytes(b"no image")
    plan = plan_of(tmp_path, source={"kind": "folder", "path": str(folder)})
    sample = draw_sample(plan, 20, seed=1)
    assert sample.looked_at >= 40
    assert len(sample.rows) == 20
    assert len({row.key for row in sample.rows}) == 20
    assert sample.prepare_ms > 0


def test_what_an_image_costs_without_an_engine_is_told_from_two_sizes(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    sample = draw_sample(plan, 16, seed=1)
    small = write_sample(sample, plan.work.recipe, tmp_path)
    run = Run(Storage(str(tmp_path / "probe")))
    made = make_plan(small, run)
    caption_open(made)
    before = sorted(name for name, _ in run.storage.walk())
    slopes = _slopes(small, run, tmp_path, 16)
    assert set(slopes) == {"score", "select"}  # this recipe neither repairs nor releases
    assert all(value >= 0 for value in slopes.values())
    assert sorted(name for name, _ in run.storage.walk()) == before  # the probe's own run is as it was
