"""A run says who judges whom, and what its judges said yes to that is not so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from exports.storage import Storage
from factory.judging.judge_report import Answered, Rate, answered, plan_lines, plan_summary
from factory.models.family import model_family
from factory.models.resolve import Model
from factory.recipe import Recipe
from factory.runs import tables
from factory.runs.run import Run
from factory.work.plan import Plan, make_plan
from tests.recipes import demo_recipe

YES_NO = ["yes", "no"]
SERVED = "http://127.0.0.1:9/v1"


def write(run: Run, rows: list[dict[str, Any]]) -> None:
    common = {
        "asked": "?",
        "filter": "vqa_faithfulness",
        "allowed": YES_NO,
        "elsewhere": 0.1,
        "created_ms": 1,
        "ends": [],
    }
    made = [
        {"image_key": f"image-{n}", "question": "q", "control": None, **common, **row} for n, row in enumerate(rows)
    ]
    run.append("answers/judge", pl.DataFrame(made, schema=tables.ANSWERS))


def plan(tmp_path: Path, *filters: Any, **changes: Any) -> Plan:
    recipe = demo_recipe(filters=list(filters), select={}, **changes)
    return make_plan(Recipe.model_validate(recipe), Run(Storage(str(tmp_path / "run"))))


def endpoint(name: str) -> dict[str, str]:
    return {"endpoint": SERVED, "model": name}


# --- families ---


@pytest.mark.parametrize(
    ("model_type", "family"),
    [("qwen3_vl", "qwen"), ("qwen2_5_vl", "qwen"), ("internvl_chat", "internvl"), ("idefics3", "idefics"), (7, None)],
)
def test_a_family_is_the_word_with_which_the_models_type_begins(
    tmp_path: Path, model_type: object, family: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))

    assert model_family(Model("some/model", str(tmp_path), str(model_type), is_local=True)) == family


@pytest.mark.parametrize("content", ["", "[]", "{}", "{", '{"model_type": null}'])
def test_a_config_that_says_nothing_leaves_the_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)

    assert model_family(Model("org/Qwen3-VL-8B", str(tmp_path), content, is_local=True)) == "qwen"


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Qwen/Qwen3-VL-8B-Instruct", "qwen"),
        ("OpenGVLab/InternVL3_5-8B", "internvl"),
        ("gpt-5-mini", "gpt"),
        ("google/paligemma2-3b", "paligemma"),
        ("judge", None),
        ("our-best-one", None),
    ],
)
def test_of_a_served_model_only_the_name_tells(name: str, family: str | None) -> None:
    assert model_family(Model(name, name, SERVED, is_local=False, is_served=True)) == family


# --- the plan ---


def test_a_judge_of_the_captioners_family_is_a_warning(tmp_path: Path) -> None:
    lines = plan_lines(plan(tmp_path, {"vqa_faithfulness": {"judge": endpoint("Idefics3-8B")}}))

    assert "answers for vqa_faithfulness about demo:small (idefics)" in lines[0]
    assert [line for line in lines if line.startswith("warning:") and "one family (idefics)" in line]


@pytest.mark.parametrize("name", ["Qwen3-VL-8B", "our-best-one"])
def test_a_judge_of_another_or_of_an_unknown_family_is_none(tmp_path: Path, name: str) -> None:
    lines = plan_lines(plan(tmp_path, {"vqa_faithfulness": {"judge": endpoint(name)}}))

    assert not [line for line in lines if "warning" in line]
    assert f"{name} at {SERVED} ({'qwen' if name[0] == 'Q' else 'family unknown'})" in lines[0]


def test_a_captioner_that_judges_itself_is_stated_and_no_warning(tmp_path: Path) -> None:
    found = plan(tmp_path, "vqa_faithfulness", "visual_pmi")

    assert plan_lines(found) == [
        "judge    demo:small (idefics) answers for vqa_faithfulness, visual_pmi about its own captions"
    ]
    assert plan_summary(found)["judged_after"] == []


def test_engines_that_are_started_for_judges_are_announced(tmp_path: Path) -> None:
    after = "vqa_faithfulness below 0.5"
    found = plan(
        tmp_path,
        "vqa_faithfulness",
        {"caption_likelihood": {"judge": "self", "when": after}},
        {"vlm_judge": {"judge": endpoint("Qwen3-VL-8B")}},
    )
    lines = "\n".join(plan_lines(found))

    assert "an engine is started for it: demo:small, for caption_likelihood" in lines
    assert f"its server is asked: Qwen3-VL-8B at {SERVED}, for vlm_judge" in lines


def test_without_filters_that_ask_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert plan_lines(plan(tmp_path, "repetition")) == []


# --- what they said ---


def test_answers_are_averaged_by_control(tmp_path: Path) -> None:
    run = Run(Storage(str(tmp_path)))
    write(run, [{"values": [0.8, 0.2]}, {"values": [0.1, 0.1]}, {"problem": "late"}, {"values": [0.0, 0.0]}])
    write(run, [{"values": [0.2, 0.2], "control": "blank"}, {"values": [0.6, 0.2], "control": "shuffled"}])

    (found,) = answered(run, "judge")

    rates = {name: (rate.value, rate.count) for name, rate in found.rates.items()}
    assert rates == {"own": pytest.approx((0.65, 2)), "shuffled": pytest.approx((0.75, 1)), "blank": (0.5, 1)}
    assert found.problems == 1
    assert found.filter == "vqa_faithfulness"


def test_an_answer_is_compared_with_that_about_the_blank_picture(tmp_path: Path) -> None:
    run = Run(Storage(str(tmp_path)))
    write(
        run,
        [
            {"values": [0.9, 0.1], "image_key": "a"},
            {"values": [0.4, 0.6], "image_key": "a", "control": "blank"},
            {"values": [0.9, 0.1], "image_key": "b"},
            {"values": [0.5, 0.5], "image_key": "b", "question": "another", "control": "blank"},
        ],
    )

    gain = answered(run, "judge")[0].blank_gain
    assert gain is not None
    assert (gain.value, gain.count) == pytest.approx((0.5, 1))


def test_digits_and_pairs_have_rates_of_their_own(tmp_path: Path) -> None:
    run = Run(Storage(str(tmp_path)))
    rating = {"filter": "vlm_judge", "allowed": list("0123456789")}
    write(run, [{**rating, "values": [0.0] * 9 + [0.5]}, {**rating, "values": [0.25] + [0.0] * 8 + [0.25]}])
    write(run, [{"filter": "vlm_judge", "allowed": ["1", "2"], "values": [0.6, 0.2]}])

    found = {one.allowed: one.rates["own"].as_json() for one in answered(run, "judge")}

    assert found == {tuple("0123456789"): {"value": 0.75, "count": 2}, ("1", "2"): {"value": 0.75, "count": 1}}


def test_a_judge_without_answers_has_said_nothing(tmp_path: Path) -> None:
    assert answered(Run(Storage(str(tmp_path))), "judge") == []


@pytest.mark.parametrize(
    ("found", "warning"),
    [
        ({"rates": {"shuffled": Rate(0.8, 100)}}, "yes to 80% of 100 questions about other images"),
        ({"rates": {"shuffled": Rate(0.8, 5)}}, None),
        ({"rates": {"shuffled": Rate(0.4, 100)}}, None),
        ({"blank_gain": Rate(0.001, 100)}, "does not see them"),
        ({"blank_gain": Rate(0.3, 100)}, None),
        ({"allowed": ("1", "2"), "rates": {"own": Rate(0.9, 100)}}, "named first"),
        ({"allowed": ("1", "2"), "rates": {"own": Rate(0.55, 100)}}, None),
        ({"elsewhere": 0.4}, "does not suit"),
    ],
)
def test_what_makes_a_judge_doubtful_is_a_warning(found: dict[str, Any], warning: str | None) -> None:
    empty: dict[str, Any] = {"filter": "f", "allowed": ("yes", "no"), "rates": {}, "problems": 0, "elsewhere": None}

    warnings = Answered(**(empty | found)).warnings("org/judge")

    assert (warning is None and not warnings) or (len(warnings) == 1 and warning and warning in warnings[0])
