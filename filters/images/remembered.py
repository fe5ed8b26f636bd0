"""What was found out about images, kept by their content."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

Found = TypeVar("Found")


class Remembered(Generic[Found]):
    """The last `most` answers of `find`, by a digest of the bytes it was asked about. Safe to share between threads."""

    def __init__(self, find: Callable[[bytes], Found], most: int) -> None:
        self._find, self._most, self._lock = find, most, Lock()
        self._known: OrderedDict[bytes, Found] = OrderedDict()

    def get(self, data: bytes) -> Found:
        digest = hashlib.blake2b(data, digest_size=16).digest()
        with self._lock:
            if digest in self._known:
                self._known.move_to_end(digest)
                return self._known[digest]
        found = self._find(data)
        with self._lock:
            self._known[digest] = found
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return found
