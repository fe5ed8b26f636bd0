"""`factory init` writes a recipe for what is there, and the recipe can be planned and run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

import factory
from factory.cli.app import cli
from factory.recipe import load_recipe
from tests.pictures import encoded, picture

SAMPLES = Path(__file__).parents[2] / "recipes" / "samples"
TAR = SAMPLES.with_name("samples.tar")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def init(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, ["init", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def folder() -> str:
    shutil.copytree(SAMPLES, "my photos")
    return "my photos"


def tar() -> str:
    shutil.copy(TAR, "samples.tar")
    return "samples.tar"


def parquet() -> str:
    image = encoded(picture(), "PNG")
    pl.DataFrame({"image": [image] * 3, "caption": ["a", "b", None]}).write_parquet("rows.parquet")
    return "rows.parquet"


def captions() -> str:
    Path("captions.jsonl").write_text('{"caption": "a red ball"}\n{"caption": "a blue cube"}\n')
    return "captions.jsonl"


@pytest.mark.parametrize(
    ("made", "kind"),
    [(folder, "folder"), (tar, "webdataset"), (parquet, "parquet"), (captions, "captions"), (None, "demo")],
)
def test_what_is_there_gets_a_recipe_that_can_be_planned(made: object, kind: str) -> None:
    source = made() if callable(made) else "demo"
    written = json.loads(init(source, "--json"))
    recipe = load_recipe(written["recipe"])
    assert recipe.source.kind == kind
    assert bool(recipe.views) != (kind == "captions")
    assert factory.plan(written["recipe"]).shards


def test_a_recipe_for_captions_runs() -> None:
    init(captions())
    outcome = factory.run("captions.yaml", "run", quiet=True)
    assert outcome.selection["captions"] == 2


def test_the_model_is_the_one_that_was_chosen_and_is_said() -> None:
    assert "demo:small: ships with the factory" in init("demo")
    said = init("demo", "--model", "small", "--out", "small.yaml")
    assert load_recipe("small.yaml").views[0].model == "HuggingFaceTB/SmolVLM-256M-Instruct"
    assert "factory run small.yaml" in said
    init("demo", "--model", "org/of-mine: odd", "--out", "mine.yaml")
    assert load_recipe("mine.yaml").views[0].model == "org/of-mine: odd"


def test_a_file_that_is_there_is_not_replaced() -> None:
    Path("demo.yaml").write_text("mine")
    assert "demo.yaml is there already" in init("demo", code=1)
    assert Path("demo.yaml").read_text() == "mine"
    init("demo", "--force")
    assert load_recipe("demo.yaml").source.kind == "demo"


def test_nothing_to_caption_is_an_error_that_says_what_to_do() -> None:
    assert "no such file, folder or URL" in init("nowhere/at/all", code=1)
    Path("empty").mkdir()
    init("empty", code=1)
    assert "name what to caption" in init(code=2)
