"""Opening a release: a pinned version really is that version, also when the Hub is down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from exports import open_release
from exports.address import parse_address
from exports.consume import OpenedRelease
from exports.patience import Patience
from exports.publish import Published, publish
from exports.release import ReleaseError
from tests.hub.server import LocalHub
from tests.releases import build, noise, rows


@pytest.fixture(autouse=True)
def own_datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def published(hub: LocalHub, tmp_path: Path, version: str = "1.0.0", caption: str = "A caption") -> Published:
    release = build(tmp_path / "birds", version, rows(20, caption))
    return publish(release, parse_address("hub:org/birds"), endpoint=hub.url)


def opened(hub: LocalHub, target: str, **options: Any) -> OpenedRelease:
    return open_release(target, endpoint=hub.url, patience=Patience(tries=2, sleep=lambda seconds: None), **options)


def test_a_version_is_opened_with_the_original_bytes(hub: LocalHub, tmp_path: Path) -> None:
    done = published(hub, tmp_path)
    release = opened(hub, "hub:org/birds@v1.0.0")
    assert (release.version, release.commit) == ("1.0.0", done.commit)
    loaded = release.load()
    assert loaded["caption"][:2] == ["A caption 0", "A caption 1"]
    raw = loaded.cast_column("image", datasets.Image(decode=False))
    assert [one["image"]["bytes"] for one in raw] == [noise(number) for number in range(20)]
    assert next(iter(release.load(streaming=True)))["caption"] == "A caption 0"


def test_a_pinned_version_stays_that_version_after_a_newer_one(hub: LocalHub, tmp_path: Path) -> None:
    done = published(hub, tmp_path)
    published(hub, tmp_path, "1.1.0", "Another")
    assert opened(hub, "hub:org/birds@v1.0.0").load()["caption"][0] == "A caption 0"
    assert opened(hub, f"hub:org/birds@{done.commit}").load()["caption"][0] == "A caption 0"
    assert opened(hub, "hub:org/birds@v1.1.0").load()["caption"][0] == "Another 0"


def test_with_the_hub_down_the_cache_serves_that_very_version_or_nothing(hub: LocalHub, tmp_path: Path) -> None:
    published(hub, tmp_path)
    later = published(hub, tmp_path, "1.1.0", "Another")
    opened(hub, "hub:org/birds@v1.0.0")
    hub.stop()
    assert opened(hub, "hub:org/birds@v1.0.0").load()["caption"][0] == "A caption 0"
    for missing in ("hub:org/birds@v1.1.0", f"hub:org/birds@{later.commit}", "hub:org/other@v1.0.0"):
        with pytest.raises(ReleaseError, match=r"the Hub d(id|oes) not answer"):
            opened(hub, missing)


def test_with_the_hub_switched_off_the_cache_serves(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(hub, tmp_path)
    opened(hub, "hub:org/birds@v1.0.0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert opened(hub, "hub:org/birds@v1.0.0").version == "1.0.0"


def test_half_a_download_is_not_a_release(hub: LocalHub, tmp_path: Path) -> None:
    published(hub, tmp_path)
    first = opened(hub, "hub:org/birds@v1.0.0")
    shard = first.folder / "data" / "train-00000.parquet"
    shard.resolve().unlink()
    shard.unlink()
    hub.stop()
    with pytest.raises(ReleaseError, match="not wholly in the local cache"):
        opened(hub, "hub:org/birds@v1.0.0")


def test_a_damaged_cache_is_mended_or_named(hub: LocalHub, tmp_path: Path) -> None:
    published(hub, tmp_path)
    shard = opened(hub, "hub:org/birds@v1.0.0").folder / "data" / "train-00000.parquet"

    def damage() -> None:
        blob = shard.resolve()
        data = bytearray(blob.read_bytes())
        data[3000] ^= 1
        blob.chmod(0o644)
        blob.write_bytes(data)

    damage()
    assert opened(hub, "hub:org/birds@v1.0.0").load()["caption"][0] == "A caption 0"
    damage()
    hub.stop()
    with pytest.raises(ReleaseError, match="is damaged and cannot be fetched again"):
        opened(hub, "hub:org/birds@v1.0.0")


def test_a_moved_tag_is_an_error(hub: LocalHub, tmp_path: Path) -> None:
    first = published(hub, tmp_path)
    opened(hub, "hub:org/birds@v1.0.0")
    later = published(hub, tmp_path, "1.1.0", "Another")
    assert later.commit
    hub.repositories["org/birds"].tags["v1.0.0"] = later.commit
    with pytest.raises(ReleaseError, match=f"was commit {first.commit} on this machine and is {later.commit} now"):
        opened(hub, "hub:org/birds@v1.0.0")
    with pytest.raises(ReleaseError, match="somebody moved the tag"):
        opened(hub, "hub:org/birds@v1.0.0")
    with pytest.raises(ReleaseError, match=r"version 1\.1\.0 under the tag v1\.0\.0"):
        opened(hub, "hub:org/birds@v1.0.0", cache_dir=str(tmp_path / "fresh"))


@pytest.mark.parametrize("target", ["hub:org/birds", "hub:org/birds@main", "hub:org/birds@abc123"])
def test_what_can_move_is_not_opened(tmp_path: Path, target: str) -> None:
    with pytest.raises(ReleaseError, match="is not pinned; name a version"):
        open_release(target)


def test_a_directory_is_opened_alike(tmp_path: Path) -> None:
    build(tmp_path / "birds")
    build(tmp_path / "birds", "1.1.0", rows(20, "Another"))
    release = open_release(tmp_path / "birds")
    assert (release.version, release.commit) == ("1.1.0", None)
    assert release.load()["caption"][0] == "Another 0"
    with pytest.raises(ReleaseError, match="no config 'sft' with a split 'train'"):
        release.load("sft")
    (release.folder / "README.md").write_text("changed")
    with pytest.raises(ReleaseError, match="is not the release that its manifest describes"):
        open_release(tmp_path / "birds" / "1.1.0")
