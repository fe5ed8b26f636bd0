"""How a command stops: Ctrl-C and SIGTERM, once and twice, a full disk, what a killed one leaves, and a retry that was stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from exports.formats.whole_directory import whole_directory
from exports.storage import Storage
from factory.cli.app import explain
from factory.engines.cluster import ray_cluster
from factory.engines.ray_errors import typed_error
from factory.engines.stage import reports
from factory.errors import RunError
from factory.recipe import Recipe
from factory.runs.run import Run
from factory.runs.tables import CAPTIONS
from factory.work.rungs import RETRIES, add_retries

STOPPING = """
import sys, time
from factory.cli import app

@app.command("wait")
def wait_command():
    try:
        print("go", flush=True)
        time.sleep(60)
    finally:
        if "slow" in sys.argv[0]:
            print("ending", flush=True)
            time.sleep(60)

app.cli = lambda: wait_command(obj={"debug": False}, args=[])
app.main()
"""


def start(folder: Path, name: str) -> subprocess.Popen[str]:
    (folder / name).write_text(STOPPING)
    started = subprocess.Popen(
        [sys.executable, str(folder / name)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "go\n"
    return started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_says_that_what_is_finished_is_kept(tmp_path: Path, number: int) -> None:
    started = start(tmp_path, "quick.py")
    started.send_signal(number)
    said = started.communicate(timeout=60)[1]
    assert started.returncode == 130
    assert said == "\nstopped; what is finished is kept. Run the same command again to go on.\n"


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)])
def test_a_command_that_is_stopped_twice_ends_at_once(tmp_path: Path, numbers: tuple[int, int]) -> None:
    started = start(tmp_path, "slow.py")
    started.send_signal(numbers[0])
    assert started.stdout is not None
    assert started.stdout.readline() == "ending\n"
    started.send_signal(numbers[1])
    said = started.communicate(timeout=60)[1]
    assert started.returncode == 130
    assert said == "\nstopped at once; what is finished is kept. Run the same command again to go on.\n"


FRAME = pl.DataFrame({"number": list(range(500_000))})


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A file on a full disk. A link: some libraries remove what they could not write."""
    if not Path("/dev/full").is_char_device():
        pytest.skip("no /dev/full")
    (tmp_path / "full").symlink_to("/dev/full")
    return tmp_path / "full"


@pytest.mark.parametrize(
    "write",
    [
        lambda file: FRAME.write_parquet(file),
        lambda file: FRAME.lazy().sink_parquet(file),
        lambda file: FRAME.write_ipc(file),
        lambda file: file.write_bytes(b"x"),
    ],
)
def test_a_full_disk_is_told_in_our_words_whoever_noticed(write: Callable[[Path], object], full: Path) -> None:
    with pytest.raises(Exception, match="No space left") as caught:
        write(full)
    said, code = explain(caught.value)
    assert code == 1
    assert said.startswith("error: no space left on the disk of ")
    assert said.endswith("make room and run again: what is finished is kept")


@dataclass(frozen=True)
class FillsTheDisk:
    """A Ray task that writes to a full disk."""

    file: Path

    def __call__(self, batch: object) -> object:
        FRAME.write_parquet(self.file)
        return batch


def test_ray_leaves_sigterm_to_the_command_and_a_disk_full_in_a_task_is_told(tmp_path: Path, full: Path) -> None:
    def own(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, own)
    try:
        with ray_cluster(str(tmp_path)) as ray:
            assert signal.getsignal(signal.SIGTERM) is own
            with pytest.raises(RunError, match="no space left on the disk"):
                list(reports(ray, [{"job": 1}], FillsTheDisk(full), None))
            spill = ray.exceptions.OutOfDiskError("Local disk is full")
            assert "Ray's temporary files; make room" in str(typed_error(spill))
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".building-0123456789ab").mkdir()
    with whole_directory(tmp_path / "first"), whole_directory(tmp_path / "second"):
        pass  # one that lives is left alone
    assert sorted(one.name for one in tmp_path.iterdir()) == ["first", "second"]


def test_a_retry_that_was_stopped_before_it_made_anything_doubles_once(tmp_path: Path) -> None:
    raw = {
        "name": "r",
        "source": {"kind": "demo"},
        "views": [{"name": "self", "model": "demo:small", "prompts": ["Go."]}],
    }
    recipe, run = Recipe.model_validate(raw), Run(Storage(str(tmp_path)))
    run.storage.make()
    for _ in range(3):
        add_retries(recipe, run, ["truncated"])
    (asked,) = run.read_json(RETRIES)
    assert (asked["number"], asked["times"]) == (50, 1)
    run.append("captions", pl.DataFrame([{"image_key": "k", "rung": 50}], schema=CAPTIONS))
    add_retries(recipe, run, ["truncated"])
    assert [one["times"] for one in run.read_json(RETRIES)] == [1, 2]
