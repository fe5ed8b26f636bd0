"""A model that thinks: its reasoning is kept beside its caption; told not to think, it captions. The model and the engine are real."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from factory.demo.checkpoint import checkpoint_path
from tests.command import fail, succeed
from tests.recipes import TINY_ENGINE, demo_recipe, write_recipe

ANSWERS = "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
THINKS = "{% if add_generation_prompt %}{{ 'Assistant:' }}{% if enable_thinking | default(true) %}{{ '<think>' }}{% endif %}{% endif %}"


def thinking_model(folder: Path) -> Path:
    """The demo model with a template that opens its reasoning, as those of today's models do."""
    model = Path(shutil.copytree(checkpoint_path("small"), folder))
    for file in [*model.glob("*.json"), *model.glob("*.jinja")]:
        text = file.read_text()
        escaped = json.dumps(ANSWERS)[1:-1]
        file.write_text(text.replace(ANSWERS, THINKS).replace(escaped, json.dumps(THINKS)[1:-1]))
    return model


@pytest.mark.slow
def test_reasoning_is_never_a_caption(tmp_path: Path) -> None:
    view = {
        "model": str(thinking_model(tmp_path / "model")),
        "prompts": ["Describe the image in details."],
        "engine": {**TINY_ENGINE, "performance_mode": "balanced"},
        "sampling": {"max_tokens": 48, "min_tokens": 2, "presence_penalty": 0.1},
        "canary": False,
    }
    views = [
        {**view, "name": "thinks"},
        {**view, "name": "answers", "chat_template": {"enable_thinking": False}},
    ]
    recipe = demo_recipe(views=views, filters=[], select={"accept": ["ok", "truncated"]})
    recipe["source"] = {"kind": "demo", "scenes": 6, "seed": 3}

    succeed("run", write_recipe(tmp_path, recipe), "--out", tmp_path / "run", timeout=900)

    made = {
        name: rows for (name,), rows in pl.read_parquet(tmp_path / "run" / "captions" / "*.parquet").group_by("view")
    }
    assert made["thinks"]["reason"].unique().to_list() == ["only_reasoning"]
    assert made["thinks"]["text"].null_count() == made["answers"]["reasoning"].null_count() == 6
    assert (made["thinks"]["reasoning_tokens"] == made["thinks"]["output_tokens"]).all()
    assert made["answers"]["text"].null_count() == 0
    assert made["answers"]["mean_logprob"].null_count() == 0


def test_a_wrong_argument_of_the_template_is_found_by_the_plan(tmp_path: Path) -> None:
    recipe = demo_recipe()
    recipe["views"][0] |= {"model": str(thinking_model(tmp_path / "model")), "chat_template": {"thinking": False}}
    said = fail("plan", write_recipe(tmp_path, recipe), "--out", tmp_path / "run")
    assert "chat_template.thinking: the chat template of" in said
    assert "enable_thinking" in said
