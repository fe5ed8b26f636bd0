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
        content = [dataclasses.replace(row(number, caption), image=noise(number, 400)) for number in range(24)]
        release = build(tmp_path / "birds", version, content)
        publish(release, parse_address("hub:org/birds"), endpoint=hub.url)
    sent = hub.bytes_sent
    found = diff("hub:org/birds@v1.0.0", "hub:org/birds@v1.1.0", endpoint=hub.url)
    assert hub.bytes_sent - sent < 1_000_000  # of 11 MB each
    assert (found.rows["recaptioned"], found.rows_before) == (24, 24)
    assert found.examples["recaptioned"][0].after == "New"
    local = diff(tmp_path / "birds" / "1.0.0", "hub:org/birds@v1.1.0", endpoint=hub.url)
    assert (local.rows, local.scores) == (found.rows, found.scores)
    with pytest.raises(ReleaseError, match=r"has no v9.0.0; its tags: v1.0.0, v1.1.0"):
        diff("hub:org/birds@v9.0.0", "hub:org/birds@v1.0.0", endpoint=hub.url)
