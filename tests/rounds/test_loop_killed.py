"""A real loop, small: killed in the middle, finished by the same command, and then nothing left to do."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

SHIPPED = Path(__file__).parents[2] / "recipes" / "loops" / "vila2.yaml"
TRAINING = {"steps": 4, "batch": 8, "lr": 0.002, "max_pixels": 65536, "validation": 0.2}


def small_loop(folder: Path) -> Path:
    loop: dict[str, Any] = yaml.safe_load(SHIPPED.read_text())
    loop["caption"]["source"]["scenes"] = 40
    loop["caption"]["select"] = {"require": {"length": 1.0}, "best_of": "vqa_faithfulness"}
    loop["evaluate"]["recipe"]["source"]["scenes"] = 20
    loop |= {
        "rounds": 1,
        "first": "demo:small",
        "releases": {},
        "round": [{"learn": "captions", "training": TRAINING}],
        "arms": {},
        "guard": {"judge": "vqa_faithfulness", "precision": 0.1, "auroc": 0.1},
    }
    file = folder / "loop.yaml"
    file.write_text(yaml.safe_dump(loop))
    return file


def start(file: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "factory", "loop", str(file), "--out", str(out), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finish(file: Path, out: Path) -> list[dict[str, Any]]:
    process = start(file, out)
    said, problem = process.communicate(timeout=1200)
    assert process.returncode == 0, problem
    rounds: list[dict[str, Any]] = json.loads(said.splitlines()[-1])["rounds"]
    return rounds


@pytest.mark.slow
@pytest.mark.timeout(1700)
def test_a_killed_loop_goes_on_and_a_finished_one_does_nothing(tmp_path: Path) -> None:
    file, out = small_loop(tmp_path), tmp_path / "loop"
    process = start(file, out)
    until = time.monotonic() + 900
    while not list(out.glob("round-1/main/1-captions-*/.training/asked.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "the training of round 1 never began"
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    captions = sorted(path.name for path in out.glob("round-1/run/captions/*.parquet"))
    rounds = finish(file, out)
    assert [one["round"] for one in rounds] == [0, 1]
    assert rounds[1]["verdict"]["word"] in ("better", "saturated", "worse")
    assert rounds[1]["arms"]["main"]["trainings"][0]["counts"]["held_out"] == 0  # other scenes: none to leave out
    assert sorted(path.name for path in out.glob("round-1/run/captions/*.parquet")) == captions
    ledger = (out / "rounds.json").read_bytes()
    assert finish(file, out) == rounds
    assert (out / "rounds.json").read_bytes() == ledger
