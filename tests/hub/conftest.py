"""A local Hub per test, and a client in this process that takes it for the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.server import LocalHub


@pytest.fixture(params=["lfs", "xet"])
def mode(request: pytest.FixtureRequest) -> str:
    """How large files travel."""
    return str(request.param)


@pytest.fixture
def hub(tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """The Hub, in both modes. This process's client has its token and an empty cache."""
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", mode == "lfs")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    disable_progress_bars()
    with LocalHub(tmp_path / "hub") as local:
        monkeypatch.setenv("HF_TOKEN", local.token)
        yield local
    enable_progress_bars()
