"""A directory that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exports.abandoned import building_directory
from exports.release import ReleaseError
from exports.storage import Storage


@contextmanager
def whole_directory(to: str | Path) -> Iterator[Path]:
    """Give a hidden directory beside `to` to write into; at the end it becomes `to`, after an error it is gone.

    A killed process leaves the hidden one (`.building-*`) behind, never `to`; the next one beside it removes it.

    Raises:
        ReleaseError: `to` is a URL, or something is there already.
    """
    if "://" in str(to):
        raise ReleaseError(f"{to}: trainers read these files from a disk; name a local directory and copy it")
    target = Path(to).expanduser().absolute()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ReleaseError(f"{to} exists; remove it, or name another directory")
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.parent / f".building-{uuid.uuid4().hex[:12]}"
    with building_directory(Storage(str(target.parent)), building.name):
        try:
            yield building
            os.replace(building, target)  # takes the place of an empty directory too
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
