"""Releases: load_dataset reads them, bytes are the originals, a version never changes."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from PIL import Image

from exports.abandoned import building_directory
from exports.release import ReleaseError, ReleaseInfo, ReleaseRow, build_release, next_version
from exports.storage import Storage


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12), (number * 7 % 256, 30, 60)).save(buffer, "JPEG")
    return buffer.getvalue()


def row(number: int, caption: str = "A caption") -> ReleaseRow:
    data = picture(number)
    lineage: dict[str, Any] = {
        "view": "self",
        "candidate": 0,
        "text": caption,
        "kept": True,
        "model": "m",
        "seed": 2**62,
        "score_length": 0.25,
    }
    return ReleaseRow(
        id=f"album/{number:03d}",
        image=data,
        file_name=f"{number}.jpg",
        caption=caption,
        view="self",
        original="alt" if number % 2 else None,
        fields={"license": "cc0"} if number % 2 else {},
        sha256=hashlib.sha256(data).hexdigest(),
        width=16,
        height=12,
        scores={"length": 0.25},
        captions=[
            lineage,
            {**lineage, "candidate": 1, "text": None, "kept": False, "reason": "failed:empty", "score_length": None},
        ],
    )


def info(inputs: str = "a", **changes: Any) -> ReleaseInfo:
    return ReleaseInfo(name="birds", license="cc-by-4.0", filters={"length": "How long."}, inputs=inputs, **changes)


def rows(count: int = 5, caption: str = "A caption") -> list[ReleaseRow]:
    return [row(number, caption) for number in range(count)]


def test_load_dataset_reads_a_release_with_images_scores_and_lineage(tmp_path: Path) -> None:
    built = build_release(rows(), str(tmp_path / "birds"), "auto", info(), 10**9)
    loaded = datasets.load_dataset(built.url, split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == 5
    assert isinstance(loaded.features["image"], datasets.Image)
    assert loaded[3]["image"].size == (16, 12)
    assert loaded[3]["score_length"] == 0.25
    assert loaded[3]["source_fields"] == '{"license": "cc0"}'
    assert loaded[3]["captions"][0]["seed"] == 2**62
    assert loaded[3]["captions"][1]["reason"] == "failed:empty"
    stream = datasets.load_dataset(built.url, split="train", streaming=True)
    assert next(iter(stream))["caption"] == "A caption"


def test_image_bytes_are_the_originals(tmp_path: Path) -> None:
    built = build_release(rows(), str(tmp_path / "birds"), "auto", info(), 10**9)
    loaded = datasets.load_dataset(built.url, split="train", cache_dir=str(tmp_path / "cache"))
    raw = loaded.cast_column("image", datasets.Image(decode=False))
    assert [record["image"]["bytes"] for record in raw] == [picture(number) for number in range(5)]
    assert [hashlib.sha256(record["image"]["bytes"]).hexdigest() for record in raw] == raw["sha256"][:]


def test_the_manifest_describes_every_byte(tmp_path: Path) -> None:
    built = build_release(rows(40), str(tmp_path), "auto", info(), 1)
    manifest = json.loads((Path(built.url) / "manifest.json").read_text())
    for file in manifest["files"]:
        data = (Path(built.url) / file["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
    listed = {file["path"] for file in manifest["files"]} | {"manifest.json"}
    assert {path.relative_to(built.url).as_posix() for path in Path(built.url).rglob("*") if path.is_file()} == listed
    assert sum(file.get("rows", 0) for file in manifest["files"]) == manifest["rows"] == 40


def test_shards_are_cut_by_size_and_keep_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exports.release.ROW_GROUP_BYTES", 3000)
    built = build_release(iter(rows(20)), str(tmp_path / "r"), "auto", info(), 6000)
    assert len(list((Path(built.url) / "data").iterdir())) > 2
    loaded = datasets.load_dataset(built.url, split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["id"][:] == [f"album/{number:03d}" for number in range(20)]


def test_the_same_rows_make_the_same_bytes(tmp_path: Path) -> None:
    first, second = (build_release(rows(), str(tmp_path / name), "auto", info(), 10**9) for name in "ab")
    assert (Path(first.url) / "manifest.json").read_bytes() == (Path(second.url) / "manifest.json").read_bytes()


def test_versions_count_up_only_when_the_content_changed(tmp_path: Path) -> None:
    home = str(tmp_path)
    assert build_release(rows(), home, "auto", info("a"), 10**9).version == "1.0.0"
    again = build_release(iter(()), home, "auto", info("a"), 10**9)
    assert (again.version, again.is_new, again.rows) == ("1.0.0", False, 5)
    same = build_release(rows(), home, "auto", info("b"), 10**9)
    assert (same.version, same.is_new) == ("1.0.0", False)
    assert build_release(rows(caption="Another"), home, "auto", info("c"), 10**9).version == "1.1.0"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.0.0", "1.1.0"]


def test_an_existing_version_is_never_overwritten(tmp_path: Path) -> None:
    build_release(rows(), str(tmp_path), "2.0.0", info("a"), 10**9)
    before = (tmp_path / "2.0.0" / "manifest.json").read_bytes()
    with pytest.raises(ReleaseError, match=r"never changes; set release.version to 2\.1\.0"):
        build_release(rows(caption="Another"), str(tmp_path), "2.0.0", info("b"), 10**9)
    assert (tmp_path / "2.0.0" / "manifest.json").read_bytes() == before


def test_a_release_of_nothing_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="no caption was kept"):
        build_release(iter(()), str(tmp_path), "auto", info(), 10**9)
    assert list(tmp_path.iterdir()) == []


def test_a_build_that_breaks_leaves_no_version(tmp_path: Path) -> None:
    def breaking() -> Any:
        yield row(1)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        build_release(breaking(), str(tmp_path), "auto", info(), 10**9)
    assert list(tmp_path.iterdir()) == []


def test_the_card_has_metadata_that_parses_and_no_markup_from_the_recipe(tmp_path: Path) -> None:
    hostile = {
        "views": [("self", "m|x", "r", "<script>`|` ---", "{}")],
        "recipe": "```\n# not a heading",
        "counts": {"dropped": {"require:length": 3}},
    }
    built = build_release(rows(), str(tmp_path), "auto", info(provenance=hostile), 10**9)
    card = (Path(built.url) / "README.md").read_text()
    _, metadata, body = card.split("---\n", 2)
    parsed = yaml.safe_load(metadata)
    assert parsed["license"] == "cc-by-4.0"
    assert parsed["configs"][0]["data_files"][0]["path"] == "data/train-*.parquet"
    assert "<script>" not in body.split("```python")[1].split("## Recipe")[0]
    assert "````yaml" in body


def test_version_numbers_are_ordered_as_numbers() -> None:
    assert next_version(["1.2.0", "1.10.0"]) == "1.11.0"
    assert next_version([]) == "1.0.0"


def test_a_release_in_which_nothing_was_kept_says_so_also_with_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="no caption was kept"):
        build_release(iter(()), str(tmp_path), "auto", info(provenance={"recipe": "name: birds"}), 10**9)
    assert list(tmp_path.iterdir()) == []


def test_a_lower_version_than_the_newest_is_refused(tmp_path: Path) -> None:
    build_release(rows(), str(tmp_path), "2.0.0", info("a"), 10**9)
    with pytest.raises(ReleaseError, match=r"1\.9\.0 is lower; versions only go up: set release.version to 2\.1\.0"):
        build_release(rows(caption="Another"), str(tmp_path), "1.9.0", info("b"), 10**9)


def test_what_a_killed_build_left_is_removed_by_the_next_and_a_living_one_is_not(tmp_path: Path) -> None:
    killed = tmp_path / ".building-0123456789ab" / "data"
    killed.mkdir(parents=True)
    (killed / "train-00000.parquet").write_bytes(b"half")
    home = Storage(str(tmp_path))
    with building_directory(home, ".building-alive"):
        assert not killed.exists()
        build_release(rows(), str(tmp_path), "auto", info(), 10**9)
        assert (tmp_path / ".building-alive").is_dir()
    build_release(rows(caption="Another"), str(tmp_path), "auto", info("b"), 10**9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.0.0", "1.1.0"]
