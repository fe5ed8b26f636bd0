"""`factory export`: one command for releases, ids and trainers' formats; `factory run RELEASE`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from click.testing import CliRunner, Result

from exports.formats import FORMATS
from factory.cli.app import cli
from factory.cli.publishing import EXPORT_FORMATS
from tests.captioned_run import captioned
from tests.recipes import DEMO
from tests.releases import build, row, rows, with_rejected


def factory(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments])


def done(*arguments: str | Path) -> dict[str, Any]:
    result = factory(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize("format", FORMATS)
def test_a_release_is_exported_in_every_format(tmp_path: Path, format: str) -> None:
    release = build(tmp_path / "birds", content=[with_rejected(one) for one in rows()])
    answer = done("export", release.folder, "--format", format, "--to", tmp_path / "out")
    assert (answer["format"], answer["written"]) == (format, 20)
    assert (tmp_path / "out" / "export.json").exists()


def test_the_command_knows_the_formats_there_are() -> None:
    assert tuple(FORMATS) == EXPORT_FORMATS


def test_a_version_of_several_is_exported(tmp_path: Path) -> None:
    build(tmp_path / "birds", content=[row(0, "First")])
    build(tmp_path / "birds", "1.1.0", content=[row(0, "Second")])
    done("export", tmp_path / "birds", "--format", "text", "--to", tmp_path / "new")
    done("export", tmp_path / "birds", "--version", "1.0.0", "--format", "text", "--to", tmp_path / "old")
    assert (tmp_path / "new" / "train-00000.txt").read_text() == "Second\n"
    assert (tmp_path / "old" / "train-00000.txt").read_text() == "First\n"


def test_a_run_is_released_and_its_release_exported(tmp_path: Path) -> None:
    run, _ = captioned(
        tmp_path, source={"kind": "demo", "scenes": 20, "seed": 3}, release={"to": str(tmp_path / "set")}
    )
    answer = done("export", run.url, "--to", tmp_path / "other", "--version", "2.0.0", "--license", "cc0-1.0")
    assert (answer["version"], Path(answer["url"])) == ("2.0.0", tmp_path / "other" / "2.0.0")
    loaded = datasets.load_dataset(answer["url"], split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == answer["rows"]
    exported = done("export", run.url, "--format", "llava", "--to", tmp_path / "llava")
    assert exported["written"] == answer["rows"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --to DIR, or --uids FILE"),
        (("--format", "llava"), "give --to DIR"),
        (("--to", "x", "--uids", "y"), "--to does not go with --uids"),
        (("--to", "x", "--format", "sft", "--license", "mit"), "--license does not go with --format sft"),
        (("--to", "x", "--prompt", "Why?"), "--prompt goes with --format"),
        (("--to", "x", "--format", "parquet"), "'parquet' is not one of"),
    ],
)
def test_options_that_do_not_go_together_are_one_message(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = factory("export", tmp_path, *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "x").exists()


def test_a_release_without_a_format_and_an_unpinned_one_say_what_to_do(tmp_path: Path) -> None:
    release = build(tmp_path / "birds", content=rows(2))
    assert "is a release already; give --format" in factory("export", release.folder, "--to", tmp_path / "x").output
    assert "is not pinned" in factory("export", "hub:org/birds", "--format", "llava", "--to", tmp_path / "x").output


def test_a_release_is_planned_again_from_its_own_recipe(tmp_path: Path) -> None:
    made = captioned(tmp_path, name="again", release={"to": str(tmp_path / "set"), "version": "1.2.0"})[1]
    recipe = yaml.safe_load((tmp_path / "set" / "1.2.0" / "recipe.yaml").read_text())
    assert recipe["views"][0]["prompts"][0]["text"] == DEMO["views"][0]["prompts"][0]["text"]
    plan = done("plan", tmp_path / "set" / "1.2.0", "--out", tmp_path / "run")
    assert plan["views"][0]["reused"] == made["source"]["scenes"]
    assert plan["views"][0]["to_caption"] == 0


def test_a_release_without_a_recipe_cannot_be_run(tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    assert "has no recipe.yaml" in factory("run", release.folder).output


@pytest.mark.parametrize("version", ["1.2", "v1", "newest", "1.2.0-rc1"])
def test_a_version_in_another_form_is_a_mistake_of_the_user(version: str, tmp_path: Path) -> None:
    for command in (["export", "run", "--to", "x"], ["publish", "x", "--to", "hub:a/b"]):
        done = CliRunner().invoke(cli, [*command, "--version", version])
        assert done.exit_code == 2
        assert f"'{version}' is no version; write three numbers, for example 1.2.0" in done.output
