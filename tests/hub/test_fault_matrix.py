"""The whole matrix of faults and kills, as `bench/release.py` measures it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench" / "release.py"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["lfs", "xet"])
def test_every_fault_and_kill_ends_with_one_commit_and_a_tag(mode: str) -> None:
    done = subprocess.run(
        [sys.executable, BENCH, "--parts", "faults", "--modes", mode, "--json"], capture_output=True, text=True
    )
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["faults_tried"] > 100
    assert answer["faults_tried"] == answer["faults_fired"] == answer["faults_survived"], done.stderr
