"""Evaluations by a command of the user's."""

import sys
from pathlib import Path
from typing import Any

import pytest

from factory.errors import RecipeError, TrainingError
from factory.rounds.loop_file import Outside
from factory.rounds.outside_evaluation import evaluate_outside

LIKE_LMMS_EVAL = """
import json, pathlib, sys
model, to = sys.argv[1:]
folder = pathlib.Path(to) / "some__model"
folder.mkdir()
count = pathlib.Path(to).parents[1] / "count"
count.write_text(count.read_text() + "1" if count.exists() else "1")
results = {"pope": {"accuracy,none": 0.5, "accuracy_stderr,none": float("nan"), "alias": "pope"}, "model": {"ok": True}}
(folder / "now_results.json").write_text(json.dumps({"results": results, "args": [1, 2]}))
(folder / "now_samples.json").write_text("no json")
"""


def outside(code: str, **more: Any) -> Outside:
    return Outside(command=(sys.executable, "-c", code, "{model}", "{to}"), **more)


def run(tmp_path: Path, one: Outside, identity: str = "a") -> Any:
    return evaluate_outside("tasks", one, "org/model", identity, tmp_path, lambda line: None)


def test_every_finite_number_of_the_results_is_told_by_its_path(tmp_path: Path) -> None:
    one = outside(LIKE_LMMS_EVAL, results="**/*results.json")
    assert run(tmp_path, one) == {"results.pope.accuracy,none": 0.5}


def test_a_model_is_evaluated_once(tmp_path: Path) -> None:
    one = outside(LIKE_LMMS_EVAL, results="**/*results.json")
    assert run(tmp_path, one) == run(tmp_path, one)
    run(tmp_path, one, "another model")
    assert (tmp_path / "count").read_text() == "11"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit('no such task')", "the evaluation 'tasks' ended with exit code 1.*\n.*no such task"),
        ("print('all done')", "left no number in .*all done"),
        (LIKE_LMMS_EVAL, "now_samples.json is no JSON"),
    ],
)
def test_a_command_that_tells_nothing_stops_with_its_last_lines(tmp_path: Path, code: str, words: str) -> None:
    with pytest.raises(TrainingError, match=f"(?s){words}"):
        run(tmp_path, outside(code))


def test_a_command_that_was_cut_off_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        run(tmp_path, outside("import sys; open(sys.argv[2] + '/half.json', 'w').write('{}'); sys.exit(3)"))
    good = outside(LIKE_LMMS_EVAL, results="**/*results.json")
    assert run(tmp_path, good)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"command": ("eval", "{model}")}, "one word holds {to}"),
        ({"command": ("eval", "{model}", "{to}"), "results": "../*.json"}, "a pattern of files below"),
    ],
)
def test_a_command_that_cannot_work_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Outside(**changes)
