"""Every byte of a tar is accounted for: what cannot be read is a row with a reason."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from exports.storage import Storage
from factory.recipe import Recipe
from factory.sources import open_source
from factory.sources.source import SourceRow
from tests.pictures import encoded, picture

IMAGE = encoded(picture(), "PNG")


def rows_of(path: Path, scratch: Path) -> list[SourceRow]:
    source = {"kind": "webdataset", "path": str(path), "text": "txt"}
    recipe = Recipe.model_validate({"name": "tars", "original": True, "source": source})
    opened = open_source(recipe, Storage(str(scratch)))
    return [row for shard in opened.shards() for row in opened.read(shard, 10_000_000)]


def member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def a_tar(samples: int = 3, change: Callable[[tarfile.TarFile], None] | None = None) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for number in range(samples):
            member(tar, f"{number}.png", IMAGE)
            member(tar, f"{number}.txt", f"caption {number}".encode())
        if change:
            change(tar)
    return file.getvalue()


def header(content: bytes, sample: int) -> int:
    """Where the header of a sample's image begins."""
    return content.index(f"{sample}.png\0".encode())


def test_a_whole_tar_has_its_samples_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(a_tar())
    rows = rows_of(tmp_path / "a.tar", tmp_path / "scratch")
    assert [row.text for row in rows] == ["caption 0", "caption 1", "caption 2"]
    assert all(row.data == IMAGE for row in rows)


@pytest.mark.parametrize("damage", ["cut in a header", "cut in data", "a damaged header", "no end mark"])
def test_what_of_a_tar_cannot_be_read_is_a_row(damage: str, tmp_path: Path) -> None:
    content = bytearray(a_tar())
    at = header(bytes(content), 2)
    if damage == "cut in a header":
        content = content[: at + 100]
    elif damage == "cut in data":
        content = content[: at + 512 + 20]
    elif damage == "a damaged header":
        content[at + 148 : at + 156] = b"9999999\0"  # its sum
    else:
        content = content[: content.rindex(b"caption 2") + 512]
    (tmp_path / "a.tar").write_bytes(bytes(content))
    rows = rows_of(tmp_path / "a.tar", tmp_path / "scratch")
    assert [row.text for row in rows[:2]] == ["caption 0", "caption 1"]
    lost = [row for row in rows if row.data is None]
    assert lost
    assert all(row.problem and row.detail for row in lost)


def test_two_samples_of_one_name_beside_each_other_are_both_there(tmp_path: Path) -> None:
    def twice(tar: tarfile.TarFile) -> None:
        for caption in ("first", "second"):
            member(tar, "same.png", IMAGE)
            member(tar, "same.txt", caption.encode())

    (tmp_path / "a.tar").write_bytes(a_tar(0, twice))
    rows = rows_of(tmp_path / "a.tar", tmp_path / "scratch")
    assert sum(row.data is not None or row.problem is not None for row in rows) >= 2


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_an_image_that_is_a_link_or_a_device_is_a_row_with_a_reason(kind: bytes, tmp_path: Path) -> None:
    def link(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("link.png")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
        member(tar, "link.txt", b"not what it seems")

    (tmp_path / "a.tar").write_bytes(a_tar(1, link))
    rows = rows_of(tmp_path / "a.tar", tmp_path / "scratch")
    assert len(rows) == 2
    assert rows[1].data is None
    assert rows[1].problem


def test_a_member_that_declares_a_tebibyte_costs_the_rest_and_no_memory(tmp_path: Path) -> None:
    content = bytearray(a_tar())
    at = header(bytes(content), 1)
    info = tarfile.TarInfo("1.png")
    info.size = 1 << 40
    content[at : at + 512] = info.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(bytes(content))
    rows = rows_of(tmp_path / "a.tar", tmp_path / "scratch")
    assert rows[0].data == IMAGE
    assert len(rows) > 1
    assert all(row.data is None and row.problem for row in rows[1:])


def test_a_compressed_bomb_ends_in_a_row(tmp_path: Path) -> None:
    file = tmp_path / "a.tar.gz"
    with gzip.open(file, "wb", compresslevel=1) as bomb:
        bomb.write(a_tar(1)[: header(a_tar(2), 1)])
        info = tarfile.TarInfo("huge.png")
        info.size = 3_000_000_000
        bomb.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(30):
            bomb.write(bytes(100_000_000))
    rows = rows_of(file, tmp_path / "scratch")
    assert rows[0].data == IMAGE
    assert any(row.data is None and row.problem for row in rows)
