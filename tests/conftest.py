"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What runs cost is kept in the user's cache; tests neither fill that nor are told by it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACTORY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def plugins_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers of its own is gone after it."""
    for module, registry in (
        ("filters.registry", "_REGISTERED"),
        ("exports.formats.export", "_REGISTERED"),
        ("factory.experts.kinds", "_registered"),
        ("factory.plugins", "_sources"),
        ("factory.plugins", "_brought"),
    ):
        monkeypatch.setattr(import_module(module), registry, {})
