"""How `bench.rounds` compares loops of several seeds."""

from __future__ import annotations

import polars as pl
import pytest

from bench.rounds import differences, over_seeds, paired


def judged(worth: list[float]) -> pl.DataFrame:
    return pl.DataFrame({"image_key": [str(number) for number in range(len(worth))], "worth": worth, "text": ""})


def test_gains_are_paired_by_image_and_averaged_over_seeds_first() -> None:
    before, now = [judged([0.1, 0.9] * 50), judged([0.2, 0.8] * 50)], [judged([0.2, 1.0] * 50), judged([0.4, 1.0] * 50)]
    gain = paired(now, before)
    assert gain["images"] == {"mean": 0.15, "low": 0.15, "high": 0.15, "images": 100}
    assert gain["seeds"]["each"] == [0.1, 0.2]
    assert gain["seeds"]["low"] == pytest.approx(0.15 - 12.706 * 0.05, abs=1e-3)


def test_one_seed_has_no_interval() -> None:
    assert over_seeds([0.5]) == {"mean": 0.5, "low": None, "high": None, "each": [0.5]}


def test_loops_differ_by_what_they_decided_not_by_when_and_where(tmp_path: object) -> None:
    import json
    from pathlib import Path

    folders = [Path(str(tmp_path)) / name for name in ("one", "two", "three")]
    for folder, seconds, worth in zip(folders, (1.0, 2.0, 2.0), (0.5, 0.5, 0.6), strict=True):
        folder.mkdir()
        entry = {"round": 0, "seconds": seconds, "model": str(folder), "worth": worth}
        (folder / "rounds.json").write_text(json.dumps({"rounds": [entry]}))
    assert differences(folders[0], folders[1]) == 0
    assert differences(folders[0], folders[2]) == 1
