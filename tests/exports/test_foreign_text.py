"""Texts of strangers: a terminal obeys none of them, a sheet runs none of them."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from exports.foreign_text import cell, one_line, plain
from exports.storage import Storage
from factory.cli.app import say


@pytest.mark.parametrize(
    "code", ["\x1b[2J", "\x9b31m", "\x1b]0;title\x07", "\r", "\x08", "\u202e", "\u2066", "\x00", "\ufeff"]
)
def test_what_a_terminal_obeys_is_spelled_out(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"error: {code}photo.jpg: no such file\nsecond line")
    out = capsys.readouterr().out
    assert code[0] not in out
    assert out.endswith("photo.jpg: no such file\nsecond line\n")
    assert "\n" not in one_line(f"{code}a\nb")


@pytest.mark.parametrize("text", ["a\tb\nc", "Größe 東京\u00a0犬 👩\u200d🚒", "می\u200cخواهم", ""])
def test_texts_of_every_language_stay(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "＝1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert cell(f"a {text}") == f"a {text}"


def test_files_and_their_names_are_on_the_disk_before_they_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(os.path.realpath(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    storage = Storage(str(tmp_path))
    frame = pl.DataFrame({"a": [1]})
    storage.write_frames("one/t.parquet", [frame], frame.schema)
    storage.write_new("two/t.parquet", b"x")
    storage.move("two", "three")
    files = [path for path in synced if path.endswith("t.parquet")]
    assert len(files) == 2
    assert {str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path)} <= set(synced)
