"""`factory ls`, completion, and what a command says that lacks an extra."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import factory
from factory.cli.app import COMMANDS, cli, explain
from factory.errors import EXTRAS, extras_named, missing_extra


def said(*arguments: str) -> str:
    done = CliRunner().invoke(cli, [*arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_runs_releases_and_loops_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "nothing below runs, datasets, loops" in said("ls")
    Path("captions.txt").write_text("a red ball on grass\na blue cube on sand\n")
    factory.filter("captions.txt", "runs/theirs", quiet=True)
    factory.release("runs/theirs", "datasets/theirs", license="cc0-1.0")
    loop, damaged = Path("loops/a"), Path("datasets/broken")
    for place in (loop, damaged):
        place.mkdir(parents=True)
    (loop / "rounds.json").write_text(json.dumps({"rounds": [{"verdict": {"word": "first"}}]}))
    (damaged / "manifest.json").write_text("{")
    found = {(one["kind"], one["state"], one["rows"]) for one in json.loads(said("ls", "--json"))}
    assert ("run", "finished", 2) in found
    assert ("release", "theirs 1.0.0", 2) in found
    assert ("loop", "first", 1) in found
    assert ("release", "damaged: its manifest cannot be read", None) in found
    assert "runs/theirs" in said("ls", "runs")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str) -> None:
    assert "_FACTORY_COMPLETE" in said("completion", shell)


def test_every_command_but_the_app_has_json() -> None:
    for name in set(COMMANDS) - {"review"}:
        assert "--json" in said(name, "--help"), name


@pytest.mark.parametrize("module", EXTRAS)
def test_a_missing_extra_is_named_with_how_to_get_it(module: str) -> None:
    text, code = explain(ModuleNotFoundError("gone", name=f"{module}.inner"))
    assert code == 1
    assert f"pip install 'caption-factory[{EXTRAS[module]}]'" in text


def test_a_missing_extra_behind_another_library_s_error_is_named() -> None:
    error = ImportError("Install s3fs to access S3")
    error.__cause__ = ModuleNotFoundError("gone", name="s3fs")
    assert "caption-factory[s3]" in explain(error)[0]


def test_from_python_a_missing_extra_is_an_error_of_the_factory() -> None:
    with pytest.raises(factory.MissingExtra, match=r"caption-factory\[calibrate\]"), extras_named():
        raise ModuleNotFoundError("gone", name="scipy.special")
    with pytest.raises(ModuleNotFoundError), extras_named():
        raise ModuleNotFoundError("gone", name="nothing_of_ours")


def test_a_missing_module_that_no_extra_brings_stays_a_bug() -> None:
    assert missing_extra("nothing_of_ours") is None
    assert explain(ModuleNotFoundError("gone", name="nothing_of_ours"))[1] == 70
