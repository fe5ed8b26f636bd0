"""A path that data names is read below the root of the source and nowhere else, and what has no end is not begun."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.sources.source import SourceRow
from tests.sources.rows import picture, rows_of

SECRET = picture("black") + b" the secret"
INSIDE = picture("green")


@pytest.fixture(autouse=True)
def no_test_hangs() -> Iterator[None]:
    def give_up(*_: Any) -> None:
        raise AssertionError("hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one image, and beside it things that its data may name and must not have."""
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "in.png").write_bytes(INSIDE)
    (tmp_path / "secret.png").write_bytes(SECRET)
    (tmp_path / "set-b").mkdir()  # its name begins as the root's does
    (tmp_path / "set-b" / "secret.png").write_bytes(SECRET)
    (folder / "leaves.png").symlink_to(tmp_path / "secret.png")
    (folder / "away").symlink_to(tmp_path / "set-b")
    (folder / "round.png").symlink_to("round.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "endless.png").symlink_to("/dev/zero")
    (folder / "stays.png").symlink_to("images/in.png")
    with zipfile.ZipFile(folder / "pictures.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in.png", INSIDE)
        archive.writestr("bomb.png", b"\0" * 5_000_000)
    with zipfile.ZipFile(tmp_path / "outside.zip", "w") as archive:
        archive.writestr("secret.png", SECRET)
    return folder


def attacks(root: Path) -> list[str]:
    above = root.parent
    return [
        f"{above}/secret.png",
        "../secret.png",
        "images/../../secret.png",
        f"{root}/../secret.png",
        f"{above}/set-b/secret.png",
        f"file://{above}/secret.png",
        f"local://{above}/secret.png",
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/environ",
        "pipe.png",
        f"{root}/pipe.png",
        "endless.png",
        "leaves.png",
        "away/secret.png",
        "round.png",
        "images",
        ".",
        "",
        "images/in.png\0.jpg",
        "images/" + "x" * 300,
        "../" * 4000 + "etc/hostname",
        f"zip://secret.png::{above}/outside.zip",
        "zip://secret.png::../outside.zip",
        "zip://bomb.png::pictures.zip",
        "zip://no.png::pictures.zip",
        f"zip://x::zip://secret.png::{above}/outside.zip",
        f"simplecache::file://{above}/secret.png",
        "https://example.com/a.png",
        "http://127.0.0.1:1/a.png",
    ]


def good(root: Path) -> list[str]:
    return [
        "images/in.png",
        f"{root}/images/in.png",
        "images/../images/./in.png",
        "stays.png",
        f"zip://in.png::{root}/pictures.zip",
        "zip://in.png::pictures.zip",
    ]


def assert_only_inside(rows: list[SourceRow], bad: int, fine: int) -> None:
    assert len(rows) == bad + fine
    for row in rows:
        assert row.data in (None, INSIDE), row
        assert row.data is not None or (row.problem and row.detail), row
        assert "secret.png\x89" not in row.detail
    assert sum(row.data is None for row in rows) == bad, [row for row in rows if row.data][:fine]


def of_struct(paths: list[str]) -> pa.Array:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": None, "path": path} for path in paths], kind)


def of_list(paths: list[str]) -> pa.Array:
    kind = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    return pa.array([[{"bytes": None, "path": path}] for path in paths], kind)


def of_paths(paths: list[str]) -> pa.Array:
    return pa.array(paths, pa.string())


@pytest.mark.parametrize("column", [of_struct, of_list, of_paths])
@pytest.mark.parametrize("kind", ["huggingface", "parquet"])
def test_a_table_reads_no_file_outside(
    root: Path, tmp_path: Path, kind: str, column: Callable[[list[str]], pa.Array]
) -> None:
    table = pa.table({"image": column(attacks(root) + good(root)), "caption": ["a"] * len(attacks(root) + good(root))})
    pq.write_table(table, root / "train.parquet")
    rows = rows_of({"kind": kind, "path": str(root), "key": None}, tmp_path)
    assert_only_inside(rows, len(attacks(root)), len(good(root)))


def test_a_column_marked_as_images_reads_no_file_outside(root: Path, tmp_path: Path) -> None:
    paths = attacks(root) + good(root)
    table = pa.table({"image": of_struct(paths), "caption": ["a"] * len(paths)})
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    marked = table.cast(features.arrow_schema)  # with the metadata by which `datasets` decodes
    pq.write_table(marked, root / "train.parquet")
    rows = rows_of({"kind": "huggingface", "path": str(root)}, tmp_path)
    assert_only_inside(rows, len(attacks(root)), len(good(root)))


def test_a_saved_dataset_reads_no_file_outside(root: Path, tmp_path: Path) -> None:
    paths = attacks(root) + good(root)
    datasets.Dataset(pa.table({"image": of_struct(paths), "caption": ["a"] * len(paths)})).save_to_disk(root / "saved")
    info = json.loads((root / "saved" / "dataset_info.json").read_text())
    info["features"]["image"] = {"_type": "Image"}
    (root / "saved" / "dataset_info.json").write_text(json.dumps(info))
    source = {"kind": "huggingface", "path": str(root / "saved"), "root": str(root)}
    assert_only_inside(rows_of(source, tmp_path), len(attacks(root)), len(good(root)))


def test_other_columns_of_images_are_not_opened_either(root: Path, tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "mask": datasets.Image(),
            "inner": {"mask": datasets.Image()},
            "many": datasets.List(datasets.Image()),
            "sound": datasets.Audio(),
            "caption": datasets.Value("string"),
        }
    )
    secret = {"bytes": None, "path": str(root.parent / "secret.png")}
    row = {
        "image": {"bytes": INSIDE, "path": None},
        "mask": secret,
        "inner": {"mask": secret},
        "many": [secret],
        "sound": secret,
        "caption": "a",
    }
    table = pa.Table.from_pylist([row], features.arrow_schema)
    pq.write_table(table, root / "train.parquet")
    fields = ["mask", "inner", "many", "sound"]
    (read,) = rows_of({"kind": "huggingface", "path": str(root), "fields": fields}, tmp_path)
    assert read.data == INSIDE
    assert "the secret" not in repr(dataclasses.asdict(read))
    assert read.fields["mask"] == secret


def test_a_folder_reads_no_file_outside(root: Path, tmp_path: Path) -> None:
    rows = {row.key: row for row in rows_of({"kind": "folder", "path": str(root)}, tmp_path)}
    for name in ("images/in.png", "stays.png"):
        assert rows[name].data == INSIDE
    for name in ("leaves.png", "pipe.png", "endless.png", "round.png"):
        assert rows[name].data is None, name
        assert rows[name].problem, name
        assert rows[name].detail, name
    assert all(row.data != SECRET for row in rows.values())


def test_metadata_of_a_folder_names_no_file_outside(root: Path, tmp_path: Path) -> None:
    lines = [{"file_name": path, "text": "a"} for path in attacks(root) if "\0" not in path]
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = rows_of({"kind": "folder", "path": str(root)}, tmp_path)
    assert all(row.data != SECRET for row in rows)
    assert all(row.data is not None or (row.problem and row.detail) for row in rows)


def test_captions_beside_an_image_are_not_read_from_outside(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("the secret")
    for name, target in [("in.txt", tmp_path / "secret.txt"), ("in.caption", Path("/dev/zero"))]:
        (root / "images" / name).symlink_to(target)
    os.mkfifo(root / "images" / "in.json")
    rows = {row.key: row for row in rows_of({"kind": "folder", "path": str(root)}, tmp_path)}
    assert rows["images/in.png"].data == INSIDE
    assert rows["images/in.png"].text is None
    assert rows["images/in.png"].detail


@pytest.mark.parametrize("marked", [True, False])
def test_a_metadata_file_that_leaves_or_never_ends_costs_itself(root: Path, tmp_path: Path, marked: bool) -> None:
    (tmp_path / "m.jsonl").write_text('{"file_name": "in.png", "text": "the secret"}\n')
    target = tmp_path / "m.jsonl" if marked else Path("/dev/zero")
    (root / "images" / "metadata.jsonl").symlink_to(target)
    rows = {row.key: row for row in rows_of({"kind": "folder", "path": str(root)}, tmp_path)}
    assert rows["images/in.png"].text is None
    assert any("metadata.jsonl" in key and row.problem for key, row in rows.items())


def test_a_zipped_folder_of_images_is_read_as_datasets_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    with zipfile.ZipFile(folder / "train.zip", "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}.png", picture("red") + bytes([number]))
        archive.writestr("metadata.jsonl", "\n".join(f'{{"file_name": "{n}.png", "text": "t{n}"}}' for n in range(3)))
    rows = rows_of({"kind": "huggingface", "path": str(folder)}, tmp_path)
    assert {row.text: row.data for row in rows} == {f"t{n}": picture("red") + bytes([n]) for n in range(3)}


def test_the_root_may_itself_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    pq.write_table(pa.table({"image": ["images/in.png", "../secret.png"]}), root / "train.parquet")
    rows = rows_of({"kind": "parquet", "path": str(tmp_path / "link")}, tmp_path)
    assert [row.data for row in rows] == [INSIDE, None]


def test_the_cache_of_the_hub_client_is_read_with_its_links_to_blobs(tmp_path: Path) -> None:
    snapshot = tmp_path / "datasets--a--b" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    blobs = tmp_path / "datasets--a--b" / "blobs"
    blobs.mkdir()
    (blobs / "123").write_bytes(INSIDE)
    (tmp_path / "secret.png").write_bytes(SECRET)
    (snapshot / "a.png").symlink_to("../../blobs/123")
    (snapshot / "b.png").symlink_to(tmp_path / "secret.png")
    rows = {row.key: row.data for row in rows_of({"kind": "folder", "path": str(snapshot)}, tmp_path)}
    assert rows == {"a.png": INSIDE, "b.png": None}
