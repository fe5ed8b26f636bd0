"""Recipes: what is wrong is said with file, line and the key that was meant; hostile YAML stays harmless."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from factory.errors import RecipeError
from factory.recipe import Recipe, load_recipe, parse_recipe, recipe_schema, recipe_yaml
from factory.recipe.yaml_text import MAX_BYTES, parse_yaml
from tests.recipes import demo_recipe, write_recipe

RECIPES = Path(__file__).parents[2] / "recipes"

TEXT = """\
name: web
source:
  kind: folder
  path: images
views:
  - name: self
    model: demo:small
    prompts:
      - text: Describe the image.
    sampling:
      temperature: 0.5
filters:
  - length:
      min_words: 3
"""


def problems(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(parse_yaml(text, "web.yaml"))
    return str(caught.value)


def test_a_recipe_loads_with_defaults() -> None:
    recipe = parse_recipe(parse_yaml(TEXT, "web.yaml"))
    assert recipe.views[0].sampling.temperature == 0.5
    assert recipe.filters[0].params == {"min_words": 3}


def test_an_unknown_key_is_named_with_its_line_and_the_likely_key() -> None:
    message = problems(TEXT.replace("temperature", "temprature"))
    assert "web.yaml:11: views.0.sampling.temprature: unknown key; did you mean 'temperature'?" in message


def test_an_unknown_key_of_a_source_is_named_with_the_keys_of_that_kind() -> None:
    message = problems(TEXT.replace("  path: images", "  path: images\n  txet: caption"))
    assert "web.yaml:5: source.txet: unknown key; did you mean 'text'?" in message


def test_an_unknown_source_kind_lists_the_kinds() -> None:
    message = problems(TEXT.replace("kind: folder", "kind: foldr"))
    assert "web.yaml:3: source.kind: unknown kind 'foldr'; did you mean 'folder'?" in message


def test_a_missing_key_is_named_at_its_parent() -> None:
    assert "web.yaml:2: source.path: this key is missing" in problems(TEXT.replace("  path: images\n", ""))


def test_a_wrong_type_is_named_with_its_line() -> None:
    assert "web.yaml:11: views.0.sampling.temperature" in problems(TEXT.replace("0.5", "warm"))


def test_all_problems_are_told_at_once() -> None:
    message = problems(TEXT.replace("temperature", "temprature").replace("model:", "modle:"))
    assert "temprature" in message
    assert "modle" in message


def test_an_unknown_filter_is_a_recipe_error_with_a_line() -> None:
    message = problems(TEXT.replace("- length", "- lenght"))
    assert "web.yaml:13: filters.0" in message
    assert "length" in message


def test_an_unknown_filter_parameter_is_a_recipe_error() -> None:
    assert "min_word" in problems(TEXT.replace("min_words", "min_word"))


def test_a_rule_about_a_filter_that_is_not_there_is_an_error() -> None:
    assert "'lenth' is not among the filters" in problems(TEXT + "select: {require: {lenth: 0.5}}\n")


@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:os.system [echo]\n",
        "name: !!python/name:os.system\n",
        "name: !custom x\n",
        "? [a, b]\n: c\n",
        "- a\n- b\n",
        "just words\n",
        "",
        "name: {unclosed\n",
        "name: a\nname: b\n",
        "\x00\x01",
        "[" * 5000,
        "a: &x [*x]\n",
    ],
)
def test_hostile_or_broken_yaml_is_an_error_with_the_file_name(text: str) -> None:
    with pytest.raises(RecipeError, match=r"web\.yaml"):
        parse_recipe(parse_yaml(text, "web.yaml"))


def test_an_alias_bomb_is_refused_before_it_unfolds() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(RecipeError, match="values once aliases are expanded"):
        parse_yaml("\n".join(lines), "web.yaml")


def test_a_huge_file_is_refused_without_parsing(tmp_path: Path) -> None:
    file = tmp_path / "big.yaml"
    file.write_text("a: " + "x" * MAX_BYTES)
    with pytest.raises(RecipeError, match="larger than"):
        load_recipe(file)


def test_a_missing_file_names_the_recipes_beside_it(tmp_path: Path) -> None:
    write_recipe(tmp_path, demo_recipe())
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        load_recipe(tmp_path / "other.yaml")


@given(st.text(max_size=200))
def test_any_text_is_a_recipe_or_a_recipe_error(text: str) -> None:
    with contextlib.suppress(RecipeError):
        parse_recipe(parse_yaml(text, "web.yaml"))


def test_set_changes_values_by_path_name_and_index(tmp_path: Path) -> None:
    file = write_recipe(tmp_path, demo_recipe())
    changes = (
        "views.detailed.sampling.max_tokens=7",
        "views.0.prompts.1.weight=3",
        "source.scenes=9",
        "select.require={}",
    )
    recipe = load_recipe(file, changes)
    assert recipe.views[0].sampling.max_tokens == 7
    assert recipe.views[0].prompts[1].weight == 3
    assert recipe.source.scenes == 9
    assert recipe.select.require == {}


def test_set_errors_name_the_override(tmp_path: Path) -> None:
    file = write_recipe(tmp_path, demo_recipe())
    for change, expected in [
        ("views.detaild.model=x", "detailed"),
        ("sead=1", "--set sead=1: sead: unknown key; did you mean 'seed'?"),
        ("seed", "key.path=value"),
        ("name.x=1", "is a value"),
        ("seed=-1", "--set seed=-1"),
    ]:
        with pytest.raises(RecipeError) as caught:
            load_recipe(file, (change,))
        assert expected in str(caught.value)


def test_the_resolved_recipe_loads_to_the_same_recipe() -> None:
    recipe = Recipe.model_validate(demo_recipe())
    assert parse_recipe(parse_yaml(recipe_yaml(recipe), "again")) == recipe


def shipped() -> list[Path]:
    return sorted(RECIPES.glob("*.yaml"))


@pytest.mark.parametrize("file", shipped(), ids=lambda file: file.name)
def test_shipped_recipes_load_and_fit_the_schema_that_editors_use(file: Path) -> None:
    load_recipe(file)
    content: Any = yaml.safe_load(file.read_text())
    jsonschema.Draft202012Validator(recipe_schema()).validate(content)
    assert file.read_text().startswith("# yaml-language-server: $schema=recipe.schema.json")


def test_the_shipped_schema_is_the_current_one() -> None:
    import json

    assert json.loads((RECIPES / "recipe.schema.json").read_text()) == recipe_schema(), "run: make docs"


def test_the_schema_refuses_an_unknown_key() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(recipe_schema()).validate(demo_recipe(sead=1))


def test_the_recipe_reference_is_the_current_one() -> None:
    from factory.cli.recipe_reference import reference

    assert (RECIPES.parent / "docs" / "recipe.md").read_text() == reference(), "run: make docs"


def test_a_mistake_inside_a_part_that_may_be_left_out_is_told_by_that_parts_keys(tmp_path: Path) -> None:
    release = {"to": "set", "licens": "mit", "caption": {"fused": 0.5, "rule": "original"}}
    with pytest.raises(RecipeError) as caught:
        load_recipe(write_recipe(tmp_path, demo_recipe(release=release)))
    told = [one.split(": ", 1)[1] for one in caught.value.problems]
    assert sorted(told, reverse=True) == [
        "release.licens: unknown key; did you mean 'license'?",
        "release.caption.fused: unknown key; known: rule, view, template, shares, views",
    ]
