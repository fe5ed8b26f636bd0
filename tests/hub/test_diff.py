"""Comparing versions on the Hub fetches no image."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from exports.address import parse_address
from exports.diff import diff
from exports.publish import publish
from exports.release import ReleaseError
from tests.hub.server import LocalHub
from tests.releases import build, noise, row


def test_versions_on_the_hub_are_compared_without_their_images(hub: LocalHub, tmp_path: Path) -> None:
    for version, caption in (("1.0.0", "Old"), ("1.1.0", "New")):
        content = [dataclasses.replace(row(number, caption), image=noise(number, 400)) for number in range(12)]
        release = build(tmp_path / "birds", version, content)
        publish(release, parse_address("hub:org/birds"), endpoint=hub.url)
    sent = hub.bytes_sent
    found = diff("hub:org/birds@v1.0.0", "hub:org/birds@v1.1.0", endpoint=hub.url)
    assert hub.bytes_sent - sent < 500_000  # of 5.8 MB each
    assert (found.rows["recaptioned"], found.rows_before) == (12, 12)
    assert found.examples["recaptioned"][0].after == "New"
    local = diff(tmp_path / "birds" / "1.0.0", "hub:org/birds@v1.1.0", endpoint=hub.url)
    assert (local.rows, local.scores) == (found.rows, found.scores)
    with pytest.raises(ReleaseError, match=r"has no v9.0.0; its tags: v1.0.0, v1.1.0"):
        diff("hub:org/birds@v9.0.0", "hub:org/birds@v1.0.0", endpoint=hub.url)


def test_a_hub_that_breaks_off_is_one_message(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    release = build(tmp_path / "birds")
    publish(release, parse_address("hub:org/birds"), endpoint=hub.url)
    hub.fail("resolve", "503", times=1000, skip=1)  # after the manifest
    with pytest.raises(
        ReleaseError, match=r"reading data/train-00000.parquet in org/birds.* run the same command again"
    ):
        diff("hub:org/birds@v1.0.0", release.folder, endpoint=hub.url)
