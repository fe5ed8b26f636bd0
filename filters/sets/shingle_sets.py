"""Very many sets of shingles on disk, and how similar two of them are."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from filters.sets import minhash

_COMPARED: Final = 2**21
"""Shingles looked at at a time, unless one pair has more."""


class ShingleSets:
    """Sets of shingles, numbered in the order in which they were added. Four bytes a shingle on disk and 24 a set."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._paths = (folder / "shingles", folder / "ends", folder / "sketches")
        self._files = [path.open("wb") for path in self._paths]
        self._written = 0
        self._maps: list[mmap.mmap] = []
        self.count = 0

    def add(self, flat: minhash.U32, sizes: minhash.I64, sketches: minhash.U64) -> None:
        """Sets one after another, as `minhash.shingles` and `minhash.sketches` give them; none after the first comparison."""
        ends = self._written + np.cumsum(sizes)
        for file, data in zip(self._files, (flat.tobytes(), ends.tobytes(), sketches.tobytes()), strict=True):
            file.write(data)
        self._written += int(flat.size)
        self.count += int(sizes.size)

    def similarity(self, a: minhash.U32, b: minhash.U32, at_least: float) -> NDArray[np.float64]:
        """The exact Jaccard similarity of sets `a` and `b`, pair by pair; 0 where it need not be known.

        That is where the sets' sizes, or their sketches but for one pair in 30,000, put it below `at_least`.
        """
        similarity = np.zeros(a.size)
        if not a.size:
            return similarity
        flat, ends, sketches = self._mapped()
        bits = np.bitwise_count(sketches[a] ^ sketches[b]).sum(axis=1)
        close = np.flatnonzero(minhash.PERMUTATIONS - bits >= minhash.least_agreement(at_least))
        both = np.concatenate([a[close], b[close]])
        starts = np.where(both > 0, ends[np.maximum(both, 1) - np.uint32(1)], 0)
        sizes = ends[both] - starts
        of_a, of_b = sizes[: close.size], sizes[close.size :]
        pairs = np.flatnonzero(np.minimum(of_a, of_b) >= at_least * np.maximum(of_a, of_b))
        total = np.cumsum((of_a + of_b)[pairs])
        for chunk in np.split(pairs, np.flatnonzero(np.diff(total // _COMPARED)) + 1):
            pair = np.concatenate([chunk, chunk + close.size])
            similarity[close[chunk]] = minhash.jaccard(flat, starts[pair], sizes[pair])
            self._forget()
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

    def _mapped(self) -> tuple[minhash.U32, minhash.I64, minhash.U64]:
        if not self._maps:
            for file in self._files:
                file.close()
            for path in self._paths:
                with path.open("rb") as written:
                    self._maps.append(mmap.mmap(written.fileno(), 0, access=mmap.ACCESS_READ))
        flat, ends, sketches = self._maps
        sketched = np.frombuffer(sketches, np.uint64).reshape(self.count, -1)
        return np.frombuffer(flat, np.uint32), np.frombuffer(ends, np.int64), sketched

    def _forget(self) -> None:
        # Pages that were read count as this process's memory until they are given back; they stay in the system's cache.
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)
