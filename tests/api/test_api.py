"""The factory from Python: the same work, checks and errors as the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import factory
from factory.recipe import load_recipe, parse_recipe, recipe_yaml
from factory.recipe.yaml_text import parse_yaml
from filters import Length
from tests.captioned_run import captioned
from tests.recipes import demo_recipe, write_recipe

CAPTIONS = ["a red ball on grass", "a blue cube on sand", "no", "a dog a dog a dog a dog a dog a dog a dog a dog"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> factory.Run:
    made, _ = captioned(tmp_path_factory.mktemp("api"), source={"kind": "demo", "scenes": 40, "seed": 3})
    return factory.Run(made.url)


def test_importing_the_factory_loads_nothing_heavy() -> None:
    code = "import sys, factory; print(sorted({'torch', 'ray', 'vllm', 'polars', 'pydantic', 'datasets'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_that_is_promised_is_there_with_a_docstring() -> None:
    assert [name for name in factory.__all__ if not getattr(factory, name).__doc__] == []


def test_an_unknown_name_is_an_error_that_lists_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'runn'.* run"):
        _ = factory.runn  # type: ignore[attr-defined]


def test_a_recipe_made_of_objects_is_the_recipe_of_the_file(tmp_path: Path) -> None:
    raw = demo_recipe(filters=[{"length": {"min_words": 4}}, "repetition"], select={"require": {"length": 1.0}})
    made = factory.Recipe(
        name="test",
        seed=5,
        source=factory.DemoSource(scenes=24, seed=3),
        views=[
            factory.View(
                name="detailed",
                model="demo:small",
                prompts=[prompt["text"] for prompt in raw["views"][0]["prompts"]],  # type: ignore[misc]
                sampling=factory.Sampling(max_tokens=96),
                engine=raw["views"][0]["engine"],
            )
        ],
        filters=[Length(min_words=4), "repetition"],  # type: ignore[arg-type]
        select=factory.Select(require={"length": 1.0}),
    )
    assert made == load_recipe(write_recipe(tmp_path, raw))


def test_source_and_views_make_a_recipe_of_objects() -> None:
    view = factory.View(name="detailed", model="demo:small", prompts="Describe the image.")  # type: ignore[arg-type]
    recipe = factory.Recipe(source=factory.DemoSource(scenes=8), views=[view])  # type: ignore[arg-type]
    plan = factory.plan(recipe)
    assert factory.plan(recipe, overrides={"source.scenes": 9}).source_rows == 9
    assert plan.source_rows == 8
    assert "8 to caption" in repr(plan)


def test_a_wrong_object_has_the_errors_of_a_wrong_file_all_at_once() -> None:
    with pytest.raises(factory.RecipeError) as caught:
        factory.Recipe(source={"kind": "foldr"}, views=[{"name": "a", "modle": "x", "prompts": ["p"]}])  # type: ignore[arg-type, list-item]
    assert "source.kind: unknown kind 'foldr'; did you mean 'folder'?" in str(caught.value)
    assert "views.0.modle: unknown key; did you mean 'model'?" in str(caught.value)
    with pytest.raises(factory.RecipeError, match="n: 3 greedy candidates would be the same text"):
        factory.Sampling(n=3)


def test_an_unknown_filter_of_an_object_or_a_mapping_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    raw = demo_recipe(filters=["lenght"], select={})
    for recipe in (raw, factory.Recipe(**raw)):
        with pytest.raises(factory.RecipeError, match=r"filters\.0: There is no filter 'lenght'"):
            factory.plan(recipe, tmp_path / "run")


def test_overrides_change_a_file_a_mapping_and_an_object_alike(tmp_path: Path) -> None:
    raw = demo_recipe()
    forms = [write_recipe(tmp_path, raw), raw, factory.Recipe(**raw)]
    changed = {"source.scenes": 6, "views.detailed.prompts": ["Say what you see."]}
    plans = [factory.plan(form, tmp_path / "run", overrides=changed) for form in forms]
    assert [plan.source_rows for plan in plans] == [6, 6, 6]
    assert {plan.work.recipe.views[0].prompts[0].text for plan in plans} == {"Say what you see."}


def test_prompts_may_be_plain_texts_or_one_text() -> None:
    raw = demo_recipe()
    view = raw["views"][0] | {"prompts": "Describe the image."}
    pool = raw["views"][0] | {"prompts": ["Describe the image.", {"text": "What is there?", "weight": 2}]}
    one, two = (
        parse_recipe(parse_yaml(recipe_yaml(factory.Recipe(**raw | {"views": [each]})), "a.yaml"))
        for each in (view, pool)
    )
    assert [prompt.text for prompt in one.views[0].prompts] == ["Describe the image."]
    assert [prompt.weight for prompt in two.views[0].prompts] == [1.0, 2.0]


@pytest.mark.parametrize("prompts", [[], "", [""], [3], 3, {"txet": "a"}])
def test_a_prompt_that_is_none_is_an_error(prompts: object) -> None:
    raw = demo_recipe()
    with pytest.raises(factory.RecipeError, match=r"views\.0\.prompts"):
        factory.Recipe(**raw | {"views": [raw["views"][0] | {"prompts": prompts}]})


def test_a_file_without_a_name_has_its_own(tmp_path: Path) -> None:
    raw = demo_recipe()
    del raw["name"]
    assert load_recipe(write_recipe(tmp_path, raw, "my photos.yaml")).name == "my-photos"


def test_a_run_gives_its_captions_with_verdicts_and_scores(run: factory.Run) -> None:
    captions = run.captions()
    assert captions.height == 40
    assert captions["kept"].sum() == run.metrics["selection"]["kept"]
    dropped = captions.filter(~pl.col("kept"))
    assert dropped["drop_reason"].null_count() == 0
    assert captions["score_length"].is_between(0, 1).all()
    assert run.scores("length").height == 40
    assert run.quarantine().height == 0
    assert Path(run.report).is_file()


def test_a_run_gives_a_dataset_with_the_images_beside_the_captions(run: factory.Run) -> None:
    rows = run.dataset()
    assert len(rows) == run.captions()["kept"].sum()
    assert {"image", "text", "score_length"} <= set(rows.column_names)
    assert rows[0]["image"].width > 0
    assert len(run.dataset(kept=False, images=False)) == 40


def test_an_unknown_filter_of_a_run_names_those_it_has(run: factory.Run) -> None:
    with pytest.raises(factory.RunError, match="no filter 'lenght'; did you mean 'length'"):
        run.scores("lenght")


def test_no_run_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(factory.RunError, match="no run here"):
        factory.Run(tmp_path)


def test_a_selection_is_released(run: factory.Run, tmp_path: Path) -> None:
    made = factory.release(run, tmp_path / "set", license="cc0-1.0")
    assert made.result.rows == run.captions()["kept"].sum()
    assert str(made).startswith("release ")
    with pytest.raises(factory.RunError, match=r"release\.licens"):
        factory.release(run, tmp_path / "set", licens="cc0-1.0")


def test_captions_are_filtered_with_filters_as_a_list_or_the_usual_ones(tmp_path: Path) -> None:
    file = tmp_path / "captions.txt"
    file.write_text("\n".join(CAPTIONS) + "\n")
    usual = factory.filter(file, tmp_path / "usual", quiet=True)
    assert usual.selection["captions"] == 4
    listed = factory.filter(file, tmp_path / "listed", filters=[Length(min_words=3), "repetition"], quiet=True)
    assert listed.selection["dropped"] == {"require:length": 1, "require:repetition": 1}
    assert "4 read, 2 kept" in repr(listed)
    kept = factory.Run(tmp_path / "listed").captions().filter("kept")
    assert set(kept["text"]) == set(CAPTIONS[:2])


def test_a_loop_file_that_is_not_there_is_a_recipe_error(tmp_path: Path) -> None:
    with pytest.raises(factory.RecipeError, match="no such file"):
        factory.loop(tmp_path / "loop.yaml", tmp_path / "loop")
