"""Sources: every row comes once, with its original bytes, its text and a stable key; hostile names do nothing."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import datasets
import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from pydantic import ValidationError

from exports.storage import Storage
from factory.errors import SourceError
from factory.recipe import Recipe, recipe_yaml
from factory.sources import open_source
from factory.sources.files import expand_braces
from factory.sources.source import SourceRow
from tests.recipes import demo_recipe


def picture(colour: str, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), colour).save(buffer, form)
    return buffer.getvalue()


def rows_of(source: dict[str, Any], scratch: Path, max_bytes: int = 10**6) -> list[SourceRow]:
    recipe = Recipe.model_validate(demo_recipe(source=source))
    opened = open_source(recipe, Storage(str(scratch / "scratch")))
    shards = list(opened.shards())
    found = [list(opened.read(shard, max_bytes)) for shard in shards]
    for shard, rows in zip(shards, found, strict=True):
        assert shard.rows in (None, len(rows))
    return [row for rows in found for row in rows]


def by_key(rows: list[SourceRow]) -> dict[str, SourceRow]:
    result = {row.key: row for row in rows}
    assert len(result) == len(rows)
    return result


# --- folder ---


def test_a_folder_gives_every_file_but_its_captions(tmp_path: Path) -> None:
    images = tmp_path / "images"
    (images / "deep" / "er").mkdir(parents=True)
    (images / "cat.png").write_bytes(picture("red"))
    (images / "cat.txt").write_text(" a red cat \n")
    (images / "deep" / "er" / "dog.JPG").write_bytes(picture("blue", "JPEG"))
    (images / "deep" / "er" / "dog.json").write_text(json.dumps({"caption": "a dog", "other": 1}))
    (images / "notes.txt").write_text("no image has this stem")
    (images / "program.js").write_text("alert(1)")
    rows = by_key(rows_of({"kind": "folder", "path": str(images)}, tmp_path))
    assert set(rows) == {"cat.png", "deep/er/dog.JPG", "notes.txt", "program.js"}
    assert rows["cat.png"].text == "a red cat"
    assert rows["cat.png"].data == picture("red")
    assert rows["deep/er/dog.JPG"].text == "a dog"
    assert rows["program.js"].text is None


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_folder_reads_metadata_as_imagefolder_does(tmp_path: Path, kind: str) -> None:
    images = tmp_path / "images"
    (images / "sub").mkdir(parents=True)
    (images / "sub" / "a.png").write_bytes(picture("red"))
    (images / "sub" / "b.png").write_bytes(picture("blue"))
    records = [
        {"file_name": "a.png", "text": "first", "url": "u1"},
        {"file_name": "gone.png", "text": "not there", "url": "u2"},
    ]
    frame = pl.DataFrame(records)
    target = images / "sub" / f"metadata.{kind}"
    frame.write_ndjson(target) if kind == "jsonl" else frame.write_csv(target)
    rows = by_key(rows_of({"kind": "folder", "path": str(images), "fields": ["url"]}, tmp_path))
    assert rows["sub/a.png"].fields == {"url": "u1"}
    assert rows["sub/b.png"].fields == {}
    assert set(rows) == {"sub/a.png", "sub/b.png", "sub/gone.png"}
    assert rows["sub/a.png"].text == "first"
    assert rows["sub/gone.png"].problem == "unreadable"
    assert "no such file" in rows["sub/gone.png"].detail


def test_metadata_without_file_name_says_what_it_found(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(picture("red"))
    (tmp_path / "images" / "metadata.jsonl").write_text('{"name": "a.png"}\n')
    with pytest.raises(SourceError, match=r"no column 'file_name' \(found: name"):
        rows_of({"kind": "folder", "path": str(tmp_path / "images")}, tmp_path)


def test_a_file_keeps_its_shard_when_others_come(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()

    def shards() -> dict[str, str]:
        opened = open_source(
            Recipe.model_validate(demo_recipe(source={"kind": "folder", "path": str(images)})),
            Storage(str(tmp_path / "s")),
        )
        return {row.key: shard.name for shard in opened.shards() for row in opened.read(shard, 10**6)}

    for number in range(10):
        (images / f"{number}.png").write_bytes(picture("red"))
    before = shards()
    for number in range(10, 40):
        (images / f"0{number}.png").write_bytes(picture("red"))
    after = shards()
    assert {key: after[key] for key in before} == before


def test_a_folder_that_is_missing_empty_or_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.png").write_bytes(picture("red"))
    for path, words in [("nowhere", "no such folder"), ("empty", "no files"), ("file.png", "this is a file")]:
        with pytest.raises(SourceError, match=words):
            rows_of({"kind": "folder", "path": str(tmp_path / path)}, tmp_path)


def test_a_file_above_the_size_limit_is_a_row_that_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(picture("red"))
    (row,) = rows_of({"kind": "folder", "path": str(tmp_path / "images")}, tmp_path, max_bytes=10)
    assert row.data is None
    assert row.problem == "too_many_bytes"


def test_a_folder_that_disappears_while_it_is_read_stops_with_advice(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(picture("red"))
    opened = open_source(
        Recipe.model_validate(demo_recipe(source={"kind": "folder", "path": str(images)})), Storage(str(tmp_path / "s"))
    )
    shards = list(opened.shards())
    images.rename(tmp_path / "moved")
    with pytest.raises(SourceError, match="disappeared"):
        [list(opened.read(shard, 10**6)) for shard in shards]


def test_a_folder_of_any_fsspec_system_can_be_read(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/album/one/a.png", picture("green"))
    memory.pipe("/album/one/a.txt", b"green")
    rows = by_key(rows_of({"kind": "folder", "path": "memory://album"}, tmp_path))
    assert rows["one/a.png"].data == picture("green")
    assert rows["one/a.png"].text == "green"


# --- parquet ---


def test_parquet_gives_bytes_structs_and_paths_alike(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(picture("red"))
    tables = {
        "bytes": pa.table({"image": [picture("red")], "id": ["k"], "alt": ["red one"]}),
        "struct": pa.table({"image": [{"bytes": picture("red"), "path": "a.png"}], "id": ["k"], "alt": ["red one"]}),
        "path": pa.table({"image": ["pictures/a.png"], "id": ["k"], "alt": ["red one"]}),
    }
    for name, table in tables.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
        source = {
            "kind": "parquet",
            "path": str(tmp_path / f"{name}.parquet"),
            "text": "alt",
            "key": "id",
            "fields": ["alt"],
        }
        (row,) = rows_of(source, tmp_path)
        assert row.fields == {"alt": "red one"}
        assert (row.key, row.data, row.text) == ("k", picture("red"), "red one")


def test_parquet_without_an_id_is_keyed_by_content(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"image": [picture("red"), picture("blue"), None]}), tmp_path / "a.parquet", row_group_size=1
    )
    rows = rows_of({"kind": "parquet", "path": str(tmp_path / "*.parquet")}, tmp_path)
    assert len({row.key for row in rows}) == 3
    assert rows[2].problem == "missing"


@pytest.mark.parametrize("path", ["/etc/hostname", "../secret.png", "a/../../secret.png", "file:///etc/hostname"])
def test_a_path_column_cannot_leave_its_root(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.png").write_bytes(picture("red"))
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"image": [path]}), tmp_path / "in" / "a.parquet")
    (row,) = rows_of({"kind": "parquet", "path": str(tmp_path / "in" / "a.parquet")}, tmp_path)
    assert row.data is None
    assert "outside" in row.detail


def test_parquet_with_a_missing_column_lists_the_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"img": [b"x"]}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"no column 'image' \(source.image\); found: img"):
        rows_of({"kind": "parquet", "path": str(tmp_path / "a.parquet")}, tmp_path)


# --- webdataset ---


def write_tar(file: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(file, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_webdataset_groups_members_to_samples(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "000.tar",
        [
            ("x/1.jpg", picture("red", "JPEG")),
            ("x/1.txt", b"one"),
            ("x/1.json", b'{"url": "u1"}'),
            ("x/2.txt", b"alone"),
            ("x/3.png", picture("blue")),
        ],
    )
    rows = by_key(
        rows_of({"kind": "webdataset", "path": str(tmp_path / "*.tar"), "text": "txt", "fields": ["url"]}, tmp_path)
    )
    assert rows["000/x/1"].text == "one"
    assert rows["000/x/1"].fields == {"url": "u1"}
    assert rows["000/x/2"].problem == "missing"
    assert rows["000/x/3"].data == picture("blue")


def test_hostile_tar_names_are_keys_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_tar(tmp_path / "in" / "a.tar", [("../../evil.png", picture("red")), ("/etc/evil.png", picture("blue"))])
    with tarfile.open(tmp_path / "in" / "a.tar", "a") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    rows = rows_of({"kind": "webdataset", "path": str(tmp_path / "in")}, tmp_path)
    assert [row.problem for row in rows] == [None, None, "missing"]
    assert sorted(path for path in tmp_path.rglob("*") if "scratch" not in str(path)) == before


def test_a_truncated_tar_gives_what_it_has_and_one_row_for_the_rest(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [(f"{number}.png", picture("red") * 50) for number in range(4)])
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data[: len(data) // 2])
    rows = rows_of({"kind": "webdataset", "path": str(tmp_path / "a.tar")}, tmp_path)
    assert rows[-1].problem == "unreadable"
    assert len(rows) >= 2
    assert all(row.data for row in rows[:-1])


def test_braces_expand_as_in_a_shell() -> None:
    assert expand_braces("s3://b/{008..010}.tar") == ["s3://b/008.tar", "s3://b/009.tar", "s3://b/010.tar"]
    assert expand_braces("{a,b}/{1..2}") == ["a/1", "a/2", "b/1", "b/2"]
    with pytest.raises(SourceError):
        expand_braces("{0..99999999999}")


# --- hugging face ---


@pytest.mark.parametrize("layout", ["save_to_disk", "dict", "parquet"])
def test_a_dataset_on_disk_keeps_its_bytes(tmp_path: Path, layout: str) -> None:
    original = picture("red", "JPEG")
    features = datasets.Features(
        {"image": datasets.Image(), "caption": datasets.Value("string"), "n": datasets.Value("int64")}
    )
    dataset = datasets.Dataset.from_dict(
        {"image": [{"bytes": original, "path": None}] * 3, "caption": ["a", "b", None], "n": [7, 8, 9]},
        features=features,
    )
    target = tmp_path / "set"
    if layout == "save_to_disk":
        dataset.save_to_disk(target)
    elif layout == "dict":
        datasets.DatasetDict({"train": dataset}).save_to_disk(target)
    else:
        target.mkdir()
        dataset.to_parquet(target / "train.parquet")
    source = {"kind": "huggingface", "path": str(target), "text": "caption", "key": "n"}
    rows = rows_of(source, tmp_path)
    assert [(row.key, row.data, row.text) for row in rows] == [
        ("7", original, "a"),
        ("8", original, "b"),
        ("9", original, None),
    ]


def test_a_missing_split_or_column_is_named(tmp_path: Path) -> None:
    datasets.DatasetDict({"test": datasets.Dataset.from_dict({"x": [1]})}).save_to_disk(tmp_path / "set")
    with pytest.raises(SourceError, match="no split 'train'; found: test"):
        rows_of({"kind": "huggingface", "path": str(tmp_path / "set")}, tmp_path)
    with pytest.raises(SourceError, match="no column 'image'"):
        rows_of({"kind": "huggingface", "path": str(tmp_path / "set"), "split": "test"}, tmp_path)


# --- demo ---


def test_the_demo_world_has_the_scenes_asked_for_and_no_truth(tmp_path: Path) -> None:
    rows = by_key(rows_of({"kind": "demo", "scenes": 150, "seed": 4}, tmp_path))
    assert len(rows) == 150
    assert any(row.text for row in rows.values())
    assert any(row.text is None for row in rows.values())
    assert all(row.fields == {} for row in rows.values())


def test_the_demo_world_s_texts_are_a_setting_that_survives_the_resolved_recipe(tmp_path: Path) -> None:
    def texts(**settings: object) -> dict[str, str | None]:
        source = {"kind": "demo", "scenes": 20, "seed": 4, **settings}
        recipe = Recipe.model_validate(demo_recipe(source=source))
        assert Recipe.model_validate(yaml.safe_load(recipe_yaml(recipe))) == recipe
        return {key: row.text for key, row in by_key(rows_of(source, tmp_path)).items()}

    assert set(texts(text="none").values()) == {None}
    true, web = texts(text="truth"), texts(text="web", wrong=0.9)
    assert all(true.values())
    assert all(web.values())
    assert texts(text="web", wrong=0.0, errors={"omitted": 1.0}).keys() == true.keys()
    assert sum(web[key] == true[key] for key in true) <= 3
    with pytest.raises(ValidationError, match="wrong and errors belong to text: web"):
        Recipe.model_validate(demo_recipe(source={"kind": "demo", "wrong": 0.1}))
