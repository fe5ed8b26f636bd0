"""The user's cache directory: small files of JSON lines that any run may add to. What cannot be read there is as if it were not."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

MOST_LINES: Final = 2_000
"""Lines of a file that are looked at, the newest."""


def cache_directory() -> Path:
    """FACTORY_CACHE, else caption-factory in XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("FACTORY_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "caption-factory"


def remember(name: str, record: Mapping[str, Any]) -> None:
    """Add a line to a file of the cache. A directory that cannot be written is no error: the run is what matters."""
    with suppress(OSError, RuntimeError):  # RuntimeError: no home directory
        directory = cache_directory()
        directory.mkdir(parents=True, exist_ok=True)
        line = json.dumps(record, allow_nan=False, sort_keys=True) + "\n"
        with (directory / f"{name}.jsonl").open(
            "a", encoding="utf-8"
        ) as file:  # one write: lines of two runs do not mix
            file.write(line)


def remembered(name: str) -> list[dict[str, Any]]:
    """The newest MOST_LINES lines of a file of the cache, oldest first. Lines that are damaged are left out."""
    try:
        lines = (cache_directory() / f"{name}.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, RuntimeError):
        return []
    found = []
    for line in lines[-MOST_LINES:]:
        with suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict):
                found.append(record)
    return found
