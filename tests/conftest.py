"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What runs cost is kept in the user's cache; tests neither fill that nor are told by it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACTORY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
