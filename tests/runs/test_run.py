"""Run tables: parts are whole or absent, the better of two rows counts, one writer at a time, compaction loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exports.storage import Storage
from factory.captioning.merging import MergingParts
from factory.errors import RunError
from factory.runs import tables
from factory.runs.done_set import DoneSet
from factory.runs.hash_sets import distinct, is_among
from factory.runs.run import FRESH_PARTS, Run
from factory.runs.writer_lock import RunLock


def caption(
    key: str, status: str = "ok", created: int = 0, shard: str = "s", fp: str = "f", candidate: int = 0
) -> dict[str, Any]:
    row = dict.fromkeys(tables.CAPTIONS)
    row |= {"image_key": key, "shard": shard, "view": "v", "candidate": candidate, "fingerprint": fp, "status": status}
    return row | {"text": f"{key} {created}", "created_ms": created}


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=tables.CAPTIONS)


@pytest.fixture(params=["local", "memory"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    return Run(Storage(str(tmp_path / "run") if request.param == "local" else f"memory://{tmp_path.name}/run"))


def test_rows_come_back_as_they_were_written(run: Run) -> None:
    run.append("captions", frame(caption("a"), caption("b")))
    run.append("captions", frame(caption("c")))
    assert run.captions(["f"]).collect()["image_key"].sort().to_list() == ["a", "b", "c"]
    assert run.captions(["other"]).collect().height == 0


def test_an_empty_frame_writes_no_part(run: Run) -> None:
    run.append("captions", frame())
    assert run.parts("captions") == []
    assert run.captions(["f"]).collect().height == 0


def test_a_success_replaces_a_failure_and_the_older_of_two_successes_counts(run: Run) -> None:
    run.append("captions", frame(caption("a", "failed", 1), caption("b", "ok", 5), caption("c", "failed", 1)))
    run.append("captions", frame(caption("a", "ok", 2), caption("b", "ok", 3), caption("c", "truncated", 9)))
    rows = {
        row["image_key"]: (row["status"], row["created_ms"])
        for row in run.captions(["f"]).collect().iter_rows(named=True)
    }
    assert rows == {"a": ("ok", 2), "b": ("ok", 3), "c": ("truncated", 9)}


def test_a_half_written_part_is_not_seen(tmp_path: Path) -> None:
    run = Run(Storage(str(tmp_path)))
    run.append("captions", frame(caption("a")))
    (tmp_path / "captions" / ".tmp-x-part.parquet").write_bytes(b"PAR1 half")
    assert run.captions(["f"]).collect().height == 1


def test_a_writer_killed_in_the_middle_leaves_whole_parts_only(tmp_path: Path) -> None:
    code = f"""
import polars as pl
from exports.storage import Storage
from factory.runs.run import Run
run = Run(Storage({str(tmp_path)!r}))
big = pl.DataFrame({{"x": list(range(200_000))}})
print("go", flush=True)
while True:
    run.append("captions", big)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    while not Run(Storage(str(tmp_path))).parts("captions"):
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    parts = Run(Storage(str(tmp_path))).parts("captions")
    assert parts
    for part in parts:
        assert pl.read_parquet(tmp_path / "captions" / f"{part}.parquet").height == 200_000


def test_a_full_disk_leaves_no_trace_of_the_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path))
    storage.write("kept.json", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        storage.write("kept.json", b"new")
    assert storage.read("kept.json") == b"old"
    assert os.listdir(tmp_path) == ["kept.json"]


def test_a_second_writer_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    code = f"""
import time
from exports.storage import Storage
from factory.runs.run import Run
from factory.runs.writer_lock import RunLock
with RunLock(Run(Storage({str(tmp_path)!r}))):
    print("locked", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    run = Run(Storage(str(tmp_path)))
    with pytest.raises(RunError, match=f"another run is writing here .process {process.pid}"), RunLock(run):
        pass
    process.kill()
    process.wait()
    with RunLock(run):
        pass


def test_a_lock_on_an_object_store_keeps_others_out_until_it_is_released() -> None:
    run = Run(Storage("memory://locks/run"))
    with RunLock(run), pytest.raises(RunError, match="another run"), RunLock(run):
        pass
    with RunLock(run):
        pass


def score_all(run: Run, fp: str) -> None:
    for part in run.unscored("good", fp):
        rows = run.storage.scan([f"captions/{part}.parquet"]).collect()
        scores = rows.select(
            "image_key", "view", "candidate", pl.col("fingerprint").alias("caption_fingerprint"), score=pl.lit(0.5)
        )
        run.append("scores/good", scores, f"{part}.{fp}")


def contents(run: Run) -> tuple[list[str], list[str]]:
    return run.captions(["f"]).collect()["text"].sort().to_list(), run.scores("good", "new").collect()[
        "image_key"
    ].unique().sort().to_list()


def test_compaction_keeps_rows_and_scores_and_leaves_nothing_to_score(run: Run) -> None:
    for number in range(40):
        run.append("captions", frame(caption(f"k{number}", created=number)))
    score_all(run, "new")
    before = contents(run)
    assert run.compact(["good"]) == 40
    assert len(run.parts("captions")) == 1
    assert run.unscored("good", "new") == []
    assert contents(run) == before


def test_small_parts_are_merged_while_more_come_and_those_with_scores_stay(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.runs.run.FRESH_PARTS", 10)
    run.append("captions", frame(caption("scored", created=1)))
    score_all(run, "new")
    scored = run.parts("captions")
    for number in range(43):
        run.append("captions", frame(caption(f"k{number}", created=number)))
    before = contents(run)
    assert run.compact_fresh() == 40
    assert len(run.parts("captions")) == 1 + 3 + 4
    assert scored[0] in run.parts("captions")
    assert contents(run) == before
    assert run.compact_fresh() == 0


def test_merging_that_cannot_write_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Run) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Run, "compact_fresh", full)
    merging = MergingParts(run)
    for _ in range(FRESH_PARTS):
        merging.written()
    with pytest.raises(OSError, match="No space"):
        merging.__exit__(None, None, None)


@pytest.mark.parametrize("crash_at", range(1, 8))
def test_compaction_killed_at_any_step_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    run = Run(Storage(str(tmp_path)))
    for number in range(20):
        run.append("captions", frame(caption(f"k{number}", created=number)))
    score_all(run, "new")
    before = contents(run)
    steps = 0

    class Killed(Exception):
        pass

    def counting(method: Any) -> Any:
        def step(self: Storage, *arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == crash_at:
                raise Killed
            return method(self, *arguments)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write_parquet", counting(Storage.write_parquet))
        patch.setattr(Storage, "remove", counting(Storage.remove))
        with pytest.raises(Killed):
            run.compact(["good"])
    score_all(run, "new")
    assert contents(run) == before
    run.compact(["good"])
    assert contents(run) == before


def work(keys: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {"image_key": keys, "view": ["v"] * len(keys), "fingerprint": ["f"] * len(keys)},
        schema_overrides={"image_key": pl.String},
    )


@given(st.lists(st.text(max_size=5), unique=True, max_size=30), st.lists(st.text(max_size=5), max_size=30))
def test_the_done_set_contains_exactly_what_was_put_in(done: list[str], asked: list[str]) -> None:
    found = DoneSet.of(iter([work(done)])).contains(work(asked))
    assert found.tolist() == [key in done for key in asked]


def test_the_done_set_tells_views_and_fingerprints_apart() -> None:
    done = DoneSet.of(iter([work(["a"])]))
    assert not done.contains(work(["a"]).with_columns(view=pl.lit("w")))[0]
    assert not done.contains(work(["a"]).with_columns(fingerprint=pl.lit("g")))[0]


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    run = Run(Storage(str(tmp_path)))
    left = tmp_path / ".scratch-killed"
    left.mkdir()
    (left / "000000.arrow").write_bytes(b"half")
    with RunLock(run):
        assert not left.exists()


HASHES = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5), max_size=40).map(
    lambda found: np.array(found, np.uint64)
)


@given(HASHES, HASHES)
def test_sets_of_hashes_are_those_of_numpy(some: np.ndarray, others: np.ndarray) -> None:
    assert distinct(some).tolist() == np.unique(some).tolist()
    assert is_among(some, others).tolist() == np.isin(some, others).tolist()
