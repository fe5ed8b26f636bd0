"""Very many sets of shingles on disk, and how similar two of them are."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from filters import minhash

_COMPARED: Final = 2**21
"""Shingles looked at at a time, unless one pair has more."""


class ShingleSets:
    """Sets of shingles, numbered in the order in which they were added. Four bytes a shingle on disk and eight a set."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._paths = (folder / "shingles", folder / "ends")
        self._files = [path.open("wb") for path in self._paths]
        self._written = 0
        self._maps: list[mmap.mmap] = []
        self.count = 0

    def add(self, flat: minhash.U32, sizes: minhash.I64) -> None:
        """Sets one after another, as `minhash.shingles` gives them; none after the first comparison."""
        shingles, ends = self._files
        shingles.write(flat.tobytes())
        ends.write((self._written + np.cumsum(sizes)).tobytes())
        self._written += int(flat.size)
        self.count += int(sizes.size)

    def similarity(self, a: minhash.U32, b: minhash.U32, at_least: float) -> NDArray[np.float64]:
        """The exact Jaccard similarity of sets `a` and `b`, pair by pair; 0 where their sizes put it below `at_least`."""
        similarity = np.zeros(a.size)
        if not a.size:
            return similarity
        flat, ends = self._mapped()
        starts = [np.where(half > 0, ends[np.maximum(half, 1) - np.uint32(1)], 0) for half in (a, b)]
        sizes = [ends[half] - start for half, start in zip((a, b), starts, strict=True)]
        close = np.flatnonzero(np.minimum(*sizes) >= at_least * np.maximum(*sizes))
        total = np.cumsum((sizes[0] + sizes[1])[close])
        for chunk in np.split(close, np.flatnonzero(np.diff(total // _COMPARED)) + 1):
            both = np.concatenate([chunk, chunk + a.size])
            similarity[chunk] = minhash.jaccard(flat, np.concatenate(starts)[both], np.concatenate(sizes)[both])
            self._forget()
        return similarity

    def close(self) -> None:
        """Remove the sets."""
        for mapped in self._maps:
            mapped.close()
        for file in self._files:
            file.close()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _mapped(self) -> tuple[minhash.U32, minhash.I64]:
        if not self._maps:
            for file in self._files:
                file.close()
            for path in self._paths:
                with path.open("rb") as written:
                    self._maps.append(mmap.mmap(written.fileno(), 0, access=mmap.ACCESS_READ))
        return np.frombuffer(self._maps[0], np.uint32), np.frombuffer(self._maps[1], np.int64)

    def _forget(self) -> None:
        # Pages that were read count as this process's memory until they are given back; they stay in the system's cache.
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)
