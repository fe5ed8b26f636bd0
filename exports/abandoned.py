"""Builds that were killed: their directories are removed by the next build, those of living ones are left alone.

A build holds a lock on its directory as long as its process lives, so what can be locked is abandoned. On remote storage
there are no locks, and nothing is removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from exports.storage import Storage

PREFIXES = (".building-", ".scratch-")


@contextmanager
def building_directory(home: Storage, name: str) -> Iterator[None]:
    """Make a directory and hold it for the time of a build; directories that nobody holds are removed before."""
    if not home.is_local:
        yield
        return
    import fcntl

    home.make()
    for other in home.directories():
        if other.startswith(PREFIXES) and _is_abandoned(home.full(other)):
            home.remove_tree(other)
    home.child(name).make()
    handle = os.open(home.full(name), os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: others then see no lock either, and leave it
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _is_abandoned(path: str) -> bool:
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
