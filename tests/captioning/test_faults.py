"""What happens when things break in the middle of a run: real processes are killed, stopped, interrupted.

Slow: each test starts engines more than once. `make test-slow` runs them, and bench/kill.py does more of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

from factory.demo.source_row import source_rows
from tests.command import succeed
from tests.recipes import TINY_ENGINE, demo_recipe, write_recipe

pytestmark = pytest.mark.slow

IMAGES = 600


class Running:
    """A `factory run` in the background."""

    def __init__(self, recipe: Path, out: Path) -> None:
        self.out = out
        command = [sys.executable, "-m", "factory", "run", str(recipe), "--out", str(out)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=recipe.parent,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )

    def wait_for_captions(self, seconds: float = 240) -> None:
        """Until the first caption part is there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if list(self.out.glob("captions/part-*.parquet")):
                return
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.1)
        raise AssertionError("no caption was written")

    def child(self, name: str) -> psutil.Process:
        """A process below the run whose command line has this name."""
        seen = []
        for one in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                seen.append(" ".join(one.cmdline()))
                if name in seen[-1]:
                    return one
        raise AssertionError(f"no process {name} among {seen}; captions: {list(self.out.glob('captions/*'))}")

    def end(self, seconds: float = 400) -> tuple[int, str, str]:
        """Exit code and both outputs."""
        stdout, stderr = self.process.communicate(timeout=seconds)
        return self.process.returncode, stdout, stderr


@pytest.fixture
def recipe(tmp_path: Path) -> dict[str, Any]:
    """Captions of a folder of scenes, few at a time: long enough to break in the middle."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    for row in source_rows(2, IMAGES):
        (folder / f"{row.key}.img").write_bytes(row.image)
    view = {**demo_recipe()["views"][0], "engine": {**TINY_ENGINE, "max_num_seqs": 4}}
    return demo_recipe(source={"kind": "folder", "path": "scenes"}, views=[view])


@pytest.fixture(autouse=True)
def no_process_is_left(tmp_path: Path) -> Iterator[None]:
    """Whatever a test kills, its engines and workers end by themselves."""
    yield
    end = time.monotonic() + 60
    while time.monotonic() < end:
        left = [
            one
            for one in psutil.process_iter(["cmdline", "cwd"])  # of this test's runs: other tests have engines, too
            if any("VLLM::" in part or "ray::" in part for part in one.info["cmdline"] or [])
            and Path(one.info["cwd"] or "/").is_relative_to(tmp_path)
        ]
        if not left:
            return
        time.sleep(1)
    raise AssertionError(f"still running: {left}")


def check_complete(recipe: Path, out: Path, images: int = IMAGES) -> dict[str, Any]:
    """Run again: it must be complete, each image once. Returns the answer."""
    answer: dict[str, Any] = json.loads(succeed("run", recipe, "--out", out, "--json", cwd=recipe.parent, timeout=400))
    states = answer["images"]
    assert states["ok"] + states["truncated"] == states["source_rows"] == images
    selection = pl.read_parquet(out / "selection.parquet")
    assert selection.height == selection["image_key"].n_unique() == images
    return answer


def test_ctrl_c_keeps_what_is_finished_and_the_next_run_goes_on(tmp_path: Path, recipe: dict[str, Any]) -> None:
    file, out = write_recipe(tmp_path, recipe), tmp_path / "run"
    running = Running(file, out)
    running.wait_for_captions()
    running.process.send_signal(signal.SIGINT)
    code, _, stderr = running.end()
    assert code == 130
    assert "Run the same command again" in stderr
    assert "Traceback" not in stderr
    done = pl.read_parquet(out / "captions" / "*.parquet").height
    assert 0 < done < IMAGES
    answer = check_complete(file, out)
    assert answer["this_time"]["images_by_state"]["ok"] <= IMAGES - done


def test_a_killed_engine_is_replaced_and_the_run_ends_by_itself(tmp_path: Path, recipe: dict[str, Any]) -> None:
    file, out = write_recipe(tmp_path, recipe), tmp_path / "run"
    running = Running(file, out)
    running.wait_for_captions()
    running.child("VLLM::EngineCor").kill()
    code, _, stderr = running.end()
    assert code == 0, stderr
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["this_time"]["engine_deaths"] == 1
    assert metrics["images"]["failed"] == 0
    check_complete(file, out)


def test_a_hung_engine_is_noticed_and_replaced(tmp_path: Path, recipe: dict[str, Any]) -> None:
    recipe["views"][0]["timeout_s"] = 30
    file, out = write_recipe(tmp_path, recipe), tmp_path / "run"
    running = Running(file, out)
    running.wait_for_captions()
    running.child("VLLM::EngineCor").suspend()
    code, _, stderr = running.end()
    assert code == 0, stderr
    assert json.loads((out / "metrics.json").read_text())["this_time"]["engine_deaths"] >= 1
    check_complete(file, out)


def test_a_source_that_disappears_stops_the_run_and_comes_back(tmp_path: Path, recipe: dict[str, Any]) -> None:
    file, out = write_recipe(tmp_path, recipe), tmp_path / "run"
    hidden = tmp_path / "hidden"
    running = Running(file, out)
    while not (out / "source" / "listing.parquet").exists():
        time.sleep(0.05)
        assert running.process.poll() is None
    shutil.move(tmp_path / "scenes", hidden)
    code, _, stderr = running.end()
    assert code == 1
    assert "the source disappeared while it was read" in stderr
    assert "Traceback" not in stderr
    shutil.move(hidden, tmp_path / "scenes")
    check_complete(file, out)
