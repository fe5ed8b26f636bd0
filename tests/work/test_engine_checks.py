"""What cannot work with an engine is said before one starts, from the recipe and the small files of its model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exports.storage import Storage
from factory.errors import RecipeError
from factory.recipe import Recipe, View
from factory.runs.run import Run
from factory.work.argument_kinds import NOT_HERE, SHAPES_TEXT, SPEED_ONLY
from factory.work.engine_arguments import engine_arguments
from factory.work.engine_checks import check_engines
from factory.work.work import resolve_work
from tests.ready import ready_view
from tests.recipes import demo_recipe

TEMPLATE = (
    "{% for message in messages %}{{ message.content }}{% endfor %}{% if add_generation_prompt %}Assistant:"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{% endif %}"
)
VLM = {"architectures": ["Idefics3ForConditionalGeneration"], "text_config": {"max_position_embeddings": 1024}}


def model(folder: Path, config: dict[str, Any] = VLM, template: str = TEMPLATE) -> str:
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(template)
    return str(folder)


def problems(path: str, **settings: Any) -> list[str]:
    try:
        check_engines([("views.0", ready_view(path, **settings))])
    except RecipeError as error:
        return error.problems
    return []


def test_every_argument_of_vllm_is_sorted() -> None:
    """When vLLM adds one: say in factory/work/argument_kinds.py whether it shapes captions or only changes how fast they come."""
    given = set(engine_arguments())
    assert given - (SPEED_ONLY | SHAPES_TEXT | NOT_HERE.keys()) == set()
    assert not SPEED_ONLY & SHAPES_TEXT
    assert not NOT_HERE.keys() & (SPEED_ONLY | SHAPES_TEXT)


def test_what_works_has_no_problem(tmp_path: Path) -> None:
    settings = {"engine": {"max_model_len": 1024, "performance_mode": "throughput"}, "reasoning": "qwen3"}
    assert problems(model(tmp_path), chat_template={"enable_thinking": False}, **settings) == []


def test_more_tokens_than_the_model_has_positions(tmp_path: Path) -> None:
    (said,) = problems(model(tmp_path), engine={"max_model_len": 4096})
    assert said.startswith("views.0.engine.max_model_len: 4096 is more than the 1024 tokens")


@pytest.mark.parametrize(
    "changes", [{"rope_scaling": {"factor": 4.0, "type": "dynamic"}}, {"max_position_embeddings": None}]
)
def test_stretched_or_unknown_positions_are_left_to_the_engine(tmp_path: Path, changes: dict[str, Any]) -> None:
    text = VLM["text_config"] | changes  # type: ignore[operator]
    assert problems(model(tmp_path, VLM | {"text_config": text}), engine={"max_model_len": 4096}) == []


def test_a_language_model_takes_no_images(tmp_path: Path) -> None:
    (said,) = problems(model(tmp_path, {"architectures": ["LlamaForCausalLM"]}))
    assert "is a language model (LlamaForCausalLM) and takes no images" in said


def test_an_unknown_template_argument_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    (said,) = problems(model(tmp_path), chat_template={"enable_thinkin": False})
    assert said.startswith("views.0.chat_template.enable_thinkin: the chat template of")
    assert "enable_thinking" in said.split("no such argument")[1]


def test_an_unknown_parser_is_named(tmp_path: Path) -> None:
    (said,) = problems(model(tmp_path), reasoning="qwen33")
    assert "no reasoning parser 'qwen33'" in said
    assert "qwen3" in said.split("'qwen33'")[1]


def test_an_argument_that_is_set_elsewhere_says_where(tmp_path: Path) -> None:
    assert problems(model(tmp_path), engine={"reasoning_parser": "qwen3"}) == [
        "views.0.engine.reasoning_parser: write `reasoning:` in the view"
    ]


@pytest.mark.parametrize("name", ["messages", "tokenize", "add_generation_prompt"])
def test_what_renders_the_template_is_not_the_users(name: str) -> None:
    with pytest.raises(RecipeError, match="the factory sets this itself"):
        View(name="v", model="m", prompts=["-"], chat_template={name: True})


def test_judges_are_checked_as_views_are(tmp_path: Path) -> None:
    judge = {"model": model(tmp_path), "engine": {"max_model_len": 4096}, "chat_template": {"think": False}}
    recipe = demo_recipe(filters=[{"vqa_faithfulness": {"judge": judge}}], select={})
    with pytest.raises(RecipeError) as caught:
        resolve_work(Recipe.model_validate(recipe), Run(Storage(str(tmp_path / "run"))))
    assert [one.split(":")[0] for one in caught.value.problems] == [
        "filters.vqa_faithfulness.judge.engine.max_model_len",
        "filters.vqa_faithfulness.judge.chat_template.think",
    ]
