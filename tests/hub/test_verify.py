"""Verifying: every byte of a release against its manifest, in a directory and as the Hub serves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from exports.address import parse_address
from exports.local_release import find_release
from exports.patience import Patience
from exports.publish import publish
from exports.release import ReleaseError
from exports.verify import Verified, verify
from tests.hub.repository import regular
from tests.hub.server import LocalHub
from tests.releases import build, rewrite, rows


def published(hub: LocalHub, tmp_path: Path) -> str:
    publish(build(tmp_path / "birds"), parse_address("hub:org/birds"), endpoint=hub.url)
    return "hub:org/birds@v1.0.0"


def check(hub: LocalHub, target: str) -> Verified:
    return verify(target, hub.url, Patience(tries=3, sleep=lambda seconds: None))


def test_a_published_release_is_right_to_the_last_byte(hub: LocalHub, tmp_path: Path) -> None:
    target = published(hub, tmp_path)
    verified = check(hub, target)
    assert verified.problems == []
    assert (verified.version, verified.files, verified.others) == ("1.0.0", 3, 1)
    assert verified.commit == hub.repositories["org/birds"].tags["v1.0.0"]
    assert {one.path.split("/")[-1] for one in hub.requests("resolve")} >= {"train-00000.parquet", "README.md"}


def test_bytes_that_the_hub_serves_otherwise_are_found(hub: LocalHub, tmp_path: Path) -> None:
    target = published(hub, tmp_path)
    tree = hub.repositories["org/birds"].find("v1.0.0")
    assert tree is not None
    sha256 = tree.tree["data/train-00000.parquet"].sha256
    assert sha256 is not None
    served = hub.files.file(sha256)
    data = bytearray(served.read_bytes())
    data[-100] ^= 1
    served.write_bytes(data)
    assert check(hub, target).problems == ["data/train-00000.parquet: the content is not what the manifest says"]
    del tree.tree["data/train-00000.parquet"]
    tree.tree["README.md"] = regular(b"short")
    assert [line.split(":")[0] for line in check(hub, target).problems] == ["data/train-00000.parquet", "README.md"]


def test_a_connection_that_breaks_while_reading_is_taken_up_again(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    target = published(hub, tmp_path)
    faults = [hub.fail("content", kind) for kind in ("drop", "503", "429")]
    faults += [hub.fail("resolve", "drop"), hub.fail("tree", "503"), hub.fail("info", "503")]
    assert check(hub, target).problems == []
    assert all(fault.fired for fault in faults)


def test_a_connection_cut_in_the_middle_goes_on_where_it_broke(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    target = published(hub, tmp_path)
    monkeypatch.setattr("exports.hub.CHUNK", 4096)
    hub.cut_content_at = 10_000
    verified = check(hub, target)
    assert verified.problems == []
    assert hub.cut_content_at is None
    assert hub.requests("content")[-1].status == 206


def test_what_is_not_there_is_one_message(hub: LocalHub, tmp_path: Path) -> None:
    target = published(hub, tmp_path)
    with pytest.raises(ReleaseError, match=r"has no v9\.9\.9; its tags: v1\.0\.0"):
        check(hub, "hub:org/birds@v9.9.9")
    with pytest.raises(ReleaseError, match="org/none is not on the Hub"):
        check(hub, "hub:org/none@v1.0.0")
    hub.repositories["org/birds"].edit("main", "remove", {"manifest.json": None})
    with pytest.raises(ReleaseError, match=r"has no manifest\.json, so it is no release"):
        check(hub, "hub:org/birds@main")
    hub.stop()
    with pytest.raises(ReleaseError, match="the Hub did not answer"):
        check(hub, target)


def test_a_tag_on_another_version_is_a_problem(hub: LocalHub, tmp_path: Path) -> None:
    published(hub, tmp_path)
    repository = hub.repositories["org/birds"]
    repository.tags["v2.0.0"] = repository.tags["v1.0.0"]
    assert check(hub, "hub:org/birds@v2.0.0").problems == ["manifest.json: version 1.0.0 under the tag v2.0.0"]


def test_a_directory_is_verified_alike(tmp_path: Path) -> None:
    release = build(tmp_path / "birds", content=rows(40), shard_bytes=1)
    assert verify(str(release.folder)).problems == []
    assert verify(str(tmp_path / "birds")).version == "1.0.0"
    shard = release.folder / "data" / "train-00000.parquet"
    data = bytearray(shard.read_bytes())
    data[5000] ^= 1
    shard.write_bytes(data)
    (release.folder / "README.md").unlink()
    (release.folder / "data" / "extra.parquet").write_bytes(b"")
    assert verify(str(release.folder)).problems == [
        "data/train-00000.parquet: the content is not what the manifest says",
        "README.md: missing",
        "data/extra.parquet: not in the manifest",
    ]


@pytest.mark.parametrize("path", ["/etc/passwd", "../1.1.0/data/a.parquet", "data/../../x", "", "manifest.json"])
def test_a_manifest_that_points_outside_is_refused(tmp_path: Path, path: str) -> None:
    release = build(tmp_path / "birds")
    with pytest.raises(ReleaseError, match="which is no path inside a release"):
        rewrite(release, files=[{"path": path, "bytes": 1, "sha256": "0" * 64}])
    with pytest.raises(ReleaseError, match="which is no path inside a release"):
        verify(str(release.folder))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3, "version": "1.0.0"}', '{"files": [], "version": "x"}'])
def test_a_damaged_manifest_is_one_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ReleaseError, match=r"manifest\.json"):
        verify(str(tmp_path))


def test_a_manifest_that_says_other_than_the_files_is_found(hub: LocalHub, tmp_path: Path, mode: str) -> None:
    release = build(tmp_path / "birds")
    manifest = release.manifest
    files = [{**one, "rows": 21} if one["path"].startswith("data/") else one for one in manifest["files"]]
    wrong = {
        "data/train-00000.parquet: other rows than the manifest says: 20 instead of 21": {"files": files},
        "manifest.json: 19 rows, and the files have 20": {"rows": 19},
        "manifest.json: other ids, or in another order, than the files have": {"id_sequence_sha256": "0" * 64},
        "README.md: licence cc-by-4.0, and the manifest says mit": {"license": "mit"},
        "manifest.json: version 1.1.0 in the directory 1.0.0": {"version": "1.1.0"},
    }
    for line, changes in wrong.items():
        assert verify(str(rewrite(release, **changes).folder)).problems == [line]
    rewrite(release, **{**manifest, "rows": 19})
    publish(find_release(release.folder), parse_address("hub:org/birds"), endpoint=hub.url)
    assert check(hub, "hub:org/birds@v1.0.0").problems == ["manifest.json: 19 rows, and the files have 20"]
