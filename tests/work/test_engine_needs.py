"""Which engines a recipe needs: one a model, for captions, questions and rungs alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exports.storage import Storage
from factory.recipe import Recipe
from factory.runs.run import Run
from factory.work.plan import Plan, make_plan
from tests.captioned_run import captioned
from tests.recipes import TINY_ENGINE, demo_recipe

LADDER = {"regenerate": [{"temperature": 0.5}, {"temperature": 0.8, "n": 2}, {"temperature": 1.0, "n": 4}], "cut": True}


def plan_of(folder: Path, **changes: Any) -> Plan:
    return make_plan(Recipe.model_validate(demo_recipe(**changes)), Run(Storage(str(folder / "run"))))


def faithful(**judge: Any) -> dict[str, Any]:
    return {
        "filters": [{"vqa_faithfulness": {"judge": judge.get("judge", "self")}}],
        "repair": {"by": "vqa_faithfulness", "least": 0.5, **LADDER},
        "select": {"best_of": "vqa_faithfulness"},
    }


def test_captions_questions_rungs_and_cuts_of_one_model_have_one_engine(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, **faithful())
    (engine,) = plan.work.engines
    (need,) = plan.engine_needs

    assert engine.questioned
    assert {ready.rung for ready in engine.views} == {0, 1, 2, 3}
    assert (need.views, need.filters, need.tries) == (("detailed",), ("vqa_faithfulness",), 3)
    assert any(
        "engine demo:small: captions of detailed; questions of vqa_faithfulness" in line for line in plan.lines()
    )


def test_a_judge_of_another_model_has_an_engine_of_its_own(tmp_path: Path) -> None:
    work = plan_of(tmp_path, **faithful(judge="demo:judge")).work
    assert [engine.first.view.model for engine in work.engines] == ["demo:small", "demo:judge"]
    assert [engine.questioned for engine in work.engines] == [False, True]


def test_a_judge_that_is_the_captioners_model_shares_its_engine_unless_its_answers_could_differ(tmp_path: Path) -> None:
    same = {"model": "demo:small", "engine": {**TINY_ENGINE, "max_num_seqs": 8, "enforce_eager": False}}
    other = {"model": "demo:small", "engine": {**TINY_ENGINE, "dtype": "bfloat16"}}

    assert len(plan_of(tmp_path, **faithful(judge=same)).work.engines) == 1
    assert len(plan_of(tmp_path, **faithful(judge=other)).work.engines) == 2


def test_a_finished_run_starts_no_engine(tmp_path: Path) -> None:
    run, raw = captioned(tmp_path)
    plan = make_plan(Recipe.model_validate(raw), run)
    assert plan.engine_needs == []
    assert plan.summary()["engines"] == []


def test_a_filter_that_comes_later_starts_the_judges_engine_alone(tmp_path: Path) -> None:
    run, raw = captioned(tmp_path)
    raw["filters"] = [*raw["filters"], {"vqa_faithfulness": {"judge": "demo:judge"}}]
    (need,) = make_plan(Recipe.model_validate(raw), run).engine_needs
    assert (need.model, need.views, need.filters) == ("demo:judge", (), ("vqa_faithfulness",))
