"""Addresses, versions, waits and secrets: the small rules of publishing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exports.address import HubAddress, parse_address
from exports.journal import read_journal, record
from exports.local_release import find_release
from exports.patience import Patience, Transient, Unreachable
from exports.redact import redact, secrets_in
from exports.release import ReleaseError
from exports.schema_change import flat_columns, schema_problem
from tests.releases import build, rows


def test_addresses_are_read() -> None:
    assert parse_address("hub:org/name") == HubAddress("org/name")
    assert parse_address("hub:org/name@v1.2.0") == HubAddress("org/name", "v1.2.0")
    assert parse_address("hub:datasets/org/na.me-x_1@" + "a" * 40).revision == "a" * 40
    assert str(parse_address("hub:org/name@v1.2.0")) == "hub:org/name@v1.2.0"


@pytest.mark.parametrize(
    "text",
    ["", "hub:", "hub:name", "org/name", "hub:org/name@", "hub:org/name@v1 x", "hub:../x", "hub:a/b/c", "hub:org/..",
     "hub:models/org/name", "hub:spaces/x", "hub:org/name@..;rm", "https://huggingface.co/datasets/org/name"],
)  # fmt: skip
def test_what_is_no_address_is_one_message(text: str) -> None:
    with pytest.raises(ReleaseError, match="hub:org/name"):
        parse_address(text)


@given(st.text())
def test_any_text_is_an_address_or_a_message(text: str) -> None:
    try:
        parsed = parse_address(f"hub:{text}")
    except ReleaseError:
        return
    assert ".." not in parsed.repo.split("/")


SCHEMA = {"id": "string", "captions": "list<element: struct<text: string, kept: bool, size: decimal128(10, 2)>>"}


def test_columns_are_compared_to_the_last_leaf() -> None:
    assert flat_columns(SCHEMA) == {
        "id": "string",
        "captions[].text": "string",
        "captions[].kept": "bool",
        "captions[].size": "decimal128(10, 2)",
    }
    wider = {**SCHEMA, "captions": SCHEMA["captions"].replace("kept: bool", "kept: bool, score_x: double")}
    assert schema_problem(SCHEMA, wider, "1.2.3", "1.3.0") is None
    assert "captions[].score_x" in str(schema_problem(SCHEMA, wider, "1.2.3", "1.2.4"))
    assert "captions[].score_x is gone" in str(schema_problem(wider, SCHEMA, "1.2.3", "1.3.0"))
    assert schema_problem(wider, SCHEMA, "1.2.3", "2.0.0") is None
    retyped = {**SCHEMA, "id": "int64"}
    assert "id is int64, was string" in str(schema_problem(SCHEMA, retyped, "1.2.3", "1.3.0"))
    assert schema_problem(SCHEMA, SCHEMA, "1.2.3", "1.2.4") is None


def test_waits_double_and_end() -> None:
    waits: list[float] = []
    patience = Patience(tries=5, longest_s=3.0, sleep=waits.append)
    for _ in range(4):
        patience.wait(Transient("no answer"))
    with pytest.raises(Unreachable, match=r"no answer; given up after 5 tries\. Run the same command again"):
        patience.wait(Transient("no answer"))
    assert waits == [1.0, 2.0, 3.0, 3.0]
    patience.progress()
    patience.wait(Transient("busy", wait_s=30.0))
    assert waits[-1] == 30.0


def test_secrets_leave_every_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "my-own-secret")
    token = "hf_" + "A1b2" * 8
    text = redact(
        f"Authorization: Bearer abc.def {token} my-own-secret https://user:pass@host/x "
        "PUT https://s3.host/key?X-Amz-Signature=123&y=2 failed"
    )
    assert not any(secret in text for secret in (token, "abc.def", "my-own-secret", "pass", "123"))
    assert "https://s3.host/key failed" in text
    assert secrets_in(f"x {token}")
    assert secrets_in("x my-own-secret y")
    assert not secrets_in("hf_short, hf_hub_download and hfnothing")


def test_a_release_is_found_by_directory_and_version(tmp_path: Path) -> None:
    build(tmp_path / "birds", "1.9.0")
    build(tmp_path / "birds", "1.10.0", rows(20, "Another"))
    assert find_release(tmp_path / "birds").version == "1.10.0"
    assert find_release(tmp_path / "birds", "1.9.0").version == "1.9.0"
    assert find_release(tmp_path / "birds" / "1.9.0").version == "1.9.0"
    with pytest.raises(ReleaseError, match=r"is version 1\.9\.0, not 2\.0\.0\. A release never changes"):
        find_release(tmp_path / "birds" / "1.9.0", "2.0.0")
    with pytest.raises(ReleaseError, match=r"holds no version 3\.0\.0; there are 1\.9\.0, 1\.10\.0"):
        find_release(tmp_path / "birds", "3.0.0")
    with pytest.raises(ReleaseError, match="no such directory"):
        find_release(tmp_path / "nowhere")
    with pytest.raises(ReleaseError, match="not on this disk; copy the release here"):
        find_release("s3://bucket/birds")


def test_a_journal_is_only_added_to_and_survives_a_cut_line(tmp_path: Path) -> None:
    record(tmp_path, "started", repo="org/birds")
    with (tmp_path / "published.jsonl").open("a") as file:
        file.write('{"event": "cut o')
    record(tmp_path, "published", commit="c")
    assert [one["event"] for one in read_journal(tmp_path)] == ["started", "published"]
    with pytest.raises(ReleaseError, match="cannot be written"):
        record(tmp_path / "none", "started")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "published.jsonl").symlink_to("/dev/full")
    with pytest.raises(ReleaseError, match=r"cannot be written \(No space left on device\)"):
        record(tmp_path / "full", "started")
