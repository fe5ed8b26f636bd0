"""The command line: help with an example, errors without a traceback, nothing heavy before it is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exports.storage import Storage
from factory.cli.app import COMMANDS
from factory.runs.run import Run
from factory.runs.writer_lock import RunLock
from tests.command import factory, fail, succeed
from tests.recipes import demo_recipe, write_recipe


def test_the_command_line_imports_nothing_heavy() -> None:
    code = "import sys, factory.cli; print(sorted(set(sys.modules) & {'polars', 'ray', 'torch', 'vllm', 'datasets', 'pydantic', 'numpy', 'PIL'}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_plan_starts_no_engine_and_imports_none(tmp_path: Path) -> None:
    file = write_recipe(tmp_path, demo_recipe())
    code = f"""
import sys
from factory.cli.app import cli
from factory.cli.app import COMMANDS
cli(["plan", {str(file)!r}, "--out", {str(tmp_path / "run")!r}], standalone_mode=False)
print(sorted(set(sys.modules) & {{"ray", "torch", "vllm", "transformers"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(name: str) -> None:
    shown = succeed(name, "--help")
    assert f"factory {name}" in shown.split("Example:")[1]


def test_a_plan_counts_the_source_and_what_is_to_do(tmp_path: Path) -> None:
    file = write_recipe(tmp_path, demo_recipe())
    plan = json.loads(succeed("plan", file, "--json", "--limit", "10", cwd=tmp_path))
    assert plan["source_rows"] == 10
    assert plan["views"][0] | {"model": ""} == {
        "name": "detailed", "model": "", "reused": 0, "stale": 0, "failed_before": 0, "to_caption": 10, "made_from": []
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("views.detailed.modle=x", "did you mean 'model'"),
        ("views.detailed.model=demo:huge", "no demo checkpoint 'huge'"),
        ("views.detailed.model=no/such/dir", "no such directory"),
        ("views.detailed.model=some-org/some-model", "not in the local cache"),
        ("views.detailed.engine.max_model_length=4", "did you mean 'max_model_len'"),
        ("filters.0=lenght", "Did you mean 'length'"),
        ("source={kind: folder, path: nowhere}", "nowhere: no such folder"),
        ("source={kind: parquet, path: nowhere.parquet}", "nowhere.parquet: no such file"),
        ("views.detailed.sampling.n=3", "greedy candidates"),
        ("release={to: x, version: '1.0'}", "write three numbers"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_message_that_helps(tmp_path: Path, change: str, words: str) -> None:
    file = write_recipe(tmp_path, demo_recipe())
    for command in ("plan", "run"):
        message = fail(command, file, "--set", change, cwd=tmp_path)
        assert words in message
        assert message.startswith("error: ")
    assert not (tmp_path / "runs" / "test" / "captions").exists()


def test_an_unreachable_hub_is_one_message(tmp_path: Path) -> None:
    file = write_recipe(tmp_path, demo_recipe())
    nobody = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    for change in ("views.detailed.model=org/model", "source={kind: huggingface, path: org/set, revision: v1}"):
        assert "the Hub cannot be reached" in fail("plan", file, "--set", change, cwd=tmp_path, **nobody)


def test_a_missing_recipe_is_one_message(tmp_path: Path) -> None:
    assert "no such file" in fail("run", tmp_path / "no.yaml")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = factory("plan", tmp_path / "no.yaml", "--debug")
    assert "Traceback" in done.stderr
    assert done.returncode != 0


def test_a_second_run_on_a_directory_is_refused(tmp_path: Path) -> None:
    file = write_recipe(tmp_path, demo_recipe())
    with RunLock(Run(Storage(str(tmp_path / "run")))):
        message = fail("run", file, "--out", tmp_path / "run")
    assert f"process {os.getpid()}" in message
    assert "choose another --out" in message


def test_a_run_directory_of_another_recipe_is_refused(tmp_path: Path) -> None:
    file = write_recipe(tmp_path, demo_recipe())
    run = Run(Storage(str(tmp_path / "run")))
    run.storage.make()
    run.write_json("recipe.lock.json", {"name": "other", "source": {}, "views": {}})
    assert "recipe 'other', not 'test'" in fail("run", file, "--out", tmp_path / "run")
    run.write_json("recipe.lock.json", {"name": "test", "source": {"kind": "folder"}, "views": {}})
    assert "captions of another source" in fail("plan", file, "--out", tmp_path / "run")


def test_an_output_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    file = write_recipe(tmp_path, demo_recipe())
    (tmp_path / "blocked").write_text("a file where the directory should be")
    assert "choose another --out" in fail("run", file, "--out", tmp_path / "blocked" / "run")


def test_status_and_report_of_no_run_say_so(tmp_path: Path) -> None:
    for command in ("status", "report"):
        assert "no run here" in fail(command, tmp_path)


def test_filters_are_listed_and_explained() -> None:
    assert "repetition" in succeed("filters")
    assert "min_words" in succeed("filters", "length")
    assert "did you mean 'length'" in fail("filters", "lenght")
    assert json.loads(succeed("filters", "--json"))["refusal"]


def test_schema_is_json() -> None:
    assert json.loads(succeed("schema"))["title"] == "caption factory recipe"


def test_doctor_never_shows_a_token() -> None:
    secret = "hf_" + "s3cret" * 6
    done = factory("doctor", "--json", HF_TOKEN=secret)
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["hub token"]["found"] == "present"
    assert checks["engine"]["state"] == "ok"
    assert secret not in done.stdout + done.stderr
