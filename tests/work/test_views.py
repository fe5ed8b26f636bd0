"""Which views share an engine, and what is asked of the done set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from factory.recipe import Recipe
from factory.work.views import engine_groups, ready_views
from tests.recipes import demo_recipe


def groups(*changes: dict[str, Any]) -> list[list[str]]:
    base = demo_recipe()["views"][0]
    views = [{**base, "name": f"v{number}", **change} for number, change in enumerate(changes)]
    recipe = Recipe.model_validate(demo_recipe(views=views))
    return [[view.name for view in group.views] for group in engine_groups(ready_views(recipe))]


def test_views_of_one_model_share_an_engine_whatever_their_prompts_and_images() -> None:
    assert groups({}, {"prompts": [{"text": "Else?"}]}, {"image": {"max_pixels": 99}}) == [["v0", "v1", "v2"]]


def test_other_engine_arguments_need_another_engine() -> None:
    assert groups({}, {"engine": {"max_model_len": 99}}, {}) == [["v0", "v2"], ["v1"]]


def test_an_adapter_has_an_engine_to_itself(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"r": 8}')
    assert groups({}, {"lora": str(tmp_path)}, {"lora": str(tmp_path)}) == [["v0"], ["v1", "v2"]]


def test_the_same_model_directory_elsewhere_is_the_same_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    fingerprints = []
    for name in ("a", "b"):
        recipe = demo_recipe()
        recipe["views"][0]["model"] = str(tmp_path / name)
        fingerprints.append(ready_views(Recipe.model_validate(recipe))[0].fingerprints)
    assert fingerprints[0] == fingerprints[1]
    (tmp_path / "b" / "config.json").write_text('{"x": 1}')
    assert ready_views(Recipe.model_validate(recipe))[0].fingerprints != fingerprints[0]
