"""Captions without images: every line is a row, whatever it holds, and its key does not depend on where it is read."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from factory.errors import SourceError
from factory.recipe import CaptionsSource
from factory.sources import captions
from factory.sources.captions import CaptionTexts


def rows_of(path: Path, **settings: object) -> list[dict[str, object]]:
    source = CaptionTexts(CaptionsSource(kind="captions", path=str(path), **settings))
    return [row for shard in source.shards() for frame in source.texts(shard) for row in frame.iter_rows(named=True)]


def test_json_lines_csv_parquet_and_text_give_the_same_captions(tmp_path: Path) -> None:
    texts = ["a dog, on a beach", 'a "sign" that\nspeaks', "ein Hund ☂"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"caption": text}) + "\n" for text in texts))
    pl.DataFrame({"caption": texts}).write_csv(tmp_path / "a.csv")
    pl.DataFrame({"caption": texts}).write_parquet(tmp_path / "a.parquet")
    with gzip.open(tmp_path / "a.jsonl.gz", "wb") as file:
        file.write((tmp_path / "a.jsonl").read_bytes())
    (tmp_path / "a.txt").write_text("a dog, on a beach\r\nein Hund ☂")

    for name in ("a.jsonl", "a.csv", "a.parquet", "a.jsonl.gz"):
        assert [row["text"] for row in rows_of(tmp_path / name)] == texts, name
    assert [row["text"] for row in rows_of(tmp_path / "a.txt")] == ["a dog, on a beach", "ein Hund ☂"]


def test_every_line_is_one_row_however_the_file_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps({"text": f"caption {number}" + "x" * (number % 37)}) for number in range(500)]
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(lines))
    whole = [row["text"] for row in rows_of(file)]

    monkeypatch.setattr(captions, "RANGE_BYTES", 101)
    cut = rows_of(file)

    assert [row["text"] for row in cut] == whole == [json.loads(line)["text"] for line in lines]
    assert len({row["image_key"] for row in cut}) == 500


def test_broken_lines_are_rows_with_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(
        b'{"text": "good", "id": 1}\nnot json\n[1]\n{"text": 5, "id": 2}\n{"text": "  ", "id": 3}\n'
        b'{"text": "no id"}\n{"text": "bro\xffken", "id": 4}\n'
    )

    rows = rows_of(file, key="id")

    assert [row["reason"] for row in rows] == [
        None,
        "unreadable_row",
        "unreadable_row",
        "no_text",
        "no_text",
        "no_key",
        None,
    ]
    assert rows[3]["detail"] == "int instead of text: 5"
    assert rows[-1]["text"] == "bro\ufffdken"


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captions, "MAX_LINE_BYTES", 1000)
    file = tmp_path / "a.txt"
    file.write_text("first\n" + "x" * 5000 + "\nlast\n")

    assert [(row["text"], row["reason"]) for row in rows_of(file)] == [
        ("first", None),
        (None, "unreadable_row"),
        ("last", None),
    ]


def test_the_same_text_twice_is_two_captions(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a dog\na dog\na cat\n")

    keys = [row["image_key"] for row in rows_of(file)]

    assert len(set(keys)) == 3
    assert keys[1] == f"{keys[0]}-2"


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"words": "a dog"}\n')

    with pytest.raises(SourceError, match=r"no column 'text' or 'caption'; found: words"):
        rows_of(file)
    with pytest.raises(SourceError, match=r"no column 'id' \(source.key\); found: words"):
        rows_of(file, text="words", key="id")
