"""`demo:NAME` as the model of a filter: the factory's name for a checkpoint that it ships."""

from pathlib import Path

import pytest
import yaml

from factory.demo.checkpoint import checkpoint_path
from factory.errors import RecipeError
from factory.models.resolve import filter_params
from factory.recipe import load_recipe
from tests.recipes import demo_recipe


def written(folder: Path, model: str) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(demo_recipe(filters=[{"alignment": {"model": model}}], select={})))
    return file


def test_a_demo_model_of_a_filter_becomes_its_directory_and_other_parameters_stay() -> None:
    given = {"model": "demo:align", "level": "noun"}

    assert filter_params(given) == {"model": str(checkpoint_path("align")), "level": "noun"}
    assert given["model"] == "demo:align"
    assert filter_params({"model": "openai/clip", "min_words": 3}) == {"model": "openai/clip", "min_words": 3}
    assert filter_params({"model": 3}) == {"model": 3}


def test_a_recipe_keeps_the_name_and_refuses_an_unknown_one_with_its_place(tmp_path: Path) -> None:
    assert load_recipe(written(tmp_path, "demo:align")).filters[0].params == {"model": "demo:align"}

    with pytest.raises(
        RecipeError, match=r"recipe\.yaml:\d+: filters\.0: .*no demo checkpoint 'algin'.*align, base, judge, small"
    ):
        load_recipe(written(tmp_path, "demo:algin"))
