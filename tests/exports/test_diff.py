"""What changed between two versions, from narrow columns alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from exports import diff as diff_module
from exports.diff import Change, diff
from exports.release import ReleaseError, ReleaseRow
from tests.command import fail, succeed
from tests.releases import build, row, rows


def versions(tmp_path: Path, shard_bytes: int = 10**9) -> tuple[Path, Path]:
    """Of 30 rows: 4 removed, 6 added, 3 recaptioned (one of them with another image), 2 images changed, 1 rescored."""
    before = build(
        tmp_path / "birds",
        "1.0.0",
        rows(30, scores={"length": 0.25, "old": 0.5}),
        shard_bytes,
        provenance={"counts": {"dropped": {"repetition": 7, "refusal": 1}}},
    )
    content: list[ReleaseRow] = [row(number, f"A caption {number}", {"length": 0.25}) for number in range(4, 36)]
    for place in (0, 10, 20):
        content[place] = dataclasses.replace(content[place], caption=f"New {place}")
    for place in (20, 25):
        content[place] = dataclasses.replace(content[place], sha256="0" * 64)
    content[1] = dataclasses.replace(content[1], scores={"length": None})
    content[2] = dataclasses.replace(content[2], scores={"length": 0.75})
    after = build(
        tmp_path / "birds", "2.0.0", content[::-1], shard_bytes, provenance={"counts": {"dropped": {"refusal": 3}}}
    )
    return before.folder, after.folder


def test_every_row_is_counted_by_what_became_of_it(tmp_path: Path) -> None:
    before, after = versions(tmp_path)
    found = diff(before, after)
    assert (found.rows_before, found.rows_after) == (30, 32)
    assert {kind: found.rows[kind] for kind in ("added", "removed", "recaptioned", "image_changed")} == {
        "added": 6,
        "removed": 4,
        "recaptioned": 3,
        "image_changed": 2,
    }
    both_changed = 1
    changed = found.rows["recaptioned"] + found.rows["image_changed"] - both_changed
    assert found.rows["added"] + changed + found.rows["rescored"] + found.rows["unchanged"] == 32
    assert (found.columns_added, found.columns_removed) == ([], ["score_old"])


def test_a_version_does_not_differ_from_itself(tmp_path: Path) -> None:
    before, _ = versions(tmp_path)
    found = diff(before, before)
    assert found.rows == dict.fromkeys(diff_module.KINDS, 0) | {"unchanged": 30}
    assert found.examples == {}


def test_a_score_that_changed_alone_is_told_apart(tmp_path: Path) -> None:
    before = build(tmp_path / "birds", "1.0.0", rows(5))
    content = rows(5)
    content[3] = dataclasses.replace(content[3], scores={"length": 0.75})
    after = build(tmp_path / "birds", "1.1.0", content)
    assert diff(before.folder, after.folder).rows == dict.fromkeys(diff_module.KINDS, 0) | {
        "rescored": 1,
        "unchanged": 4,
    }


def test_scores_and_reasons_are_compared(tmp_path: Path) -> None:
    found = diff(*versions(tmp_path))
    before, after = found.scores["score_length"]
    assert before is not None
    assert after is not None
    assert (before.rows, before.null, before.mean, before.quantiles["0.5"]) == (30, 0, 0.25, 0.25)
    assert (after.rows, after.null, after.quantiles["0.05"], after.quantiles["0.95"]) == (31, 1, 0.25, 0.25)
    assert after.mean == pytest.approx((30 * 0.25 + 0.75) / 31, abs=1e-6)
    assert found.scores["score_old"][1] is None
    assert found.dropped == {"refusal": (1, 3), "repetition": (7, 0)}


def test_examples_show_both_captions(tmp_path: Path) -> None:
    found = diff(*versions(tmp_path), examples=2)
    assert found.examples["recaptioned"] == [
        Change("album/00004", "A caption 4", "New 0"),
        Change("album/00014", "A caption 14", "New 10"),
    ]
    assert found.examples["removed"][0] == Change("album/00000", "A caption 0", None)
    assert found.examples["added"][1] == Change("album/00031", None, "A caption 31")


def test_partitions_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = versions(tmp_path, shard_bytes=1)
    whole = diff(*targets)
    monkeypatch.setattr(diff_module, "PARTITION_ROWS", 3)
    monkeypatch.setattr(diff_module, "BATCH_ROWS", 4)
    assert diff(*targets) == whole


def test_captions_do_not_command_the_terminal(tmp_path: Path) -> None:
    before = build(tmp_path / "birds", "1.0.0", [row(0, "\x1b[2J\x07boo\nsecond")])
    after = build(tmp_path / "birds", "1.1.0", [row(0, "x")])
    lines = diff(before.folder, after.folder).lines()
    assert "    - \\x1b[2J\\x07boo second" in lines


def test_the_command_prints_text_or_json(tmp_path: Path) -> None:
    before, after = versions(tmp_path)
    text = succeed("diff", before, after)
    assert "           6 added" in text
    assert "    + New 0" in text
    told = json.loads(succeed("diff", before, tmp_path / "birds", "--json", "--examples", "0"))
    assert (told["after"], told["rows"]["removed"], told["examples"]) == ("birds 2.0.0", 4, {})
    assert told["scores"]["score_length"]["before"]["mean"] == 0.25
    assert "no such directory" in fail("diff", before, tmp_path / "nowhere")


def test_a_table_without_captions_is_an_error(tmp_path: Path) -> None:
    before, after = versions(tmp_path)
    import pyarrow.parquet as pq

    path = after / "data" / "train-00000.parquet"
    pq.write_table(pq.read_table(path).drop(["caption"]), path)
    with pytest.raises(ReleaseError, match="has no column caption"):
        diff(before, after)
