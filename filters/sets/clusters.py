"""Joining pairs of things into clusters (union-find), many pairs at a time."""

import numpy as np
from numpy.typing import NDArray


class Clusters:
    """Things numbered from 0, each in a cluster of its own at first. Four bytes a thing, up to 2**32 of them."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count, dtype=np.uint32)

    def join(self, a: NDArray[np.uint32], b: NDArray[np.uint32]) -> None:
        """Put `a` and `b`, pair by pair, into one cluster."""
        while a.size:
            a, b = self.first(a), self.first(b)
            apart = a != b
            a, b = a[apart], b[apart]
            # Where several are to hang below one, the least wins; the others still are apart in the next round.
            np.minimum.at(self._parent, np.maximum(a, b), np.minimum(a, b))

    def first(self, of: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The lowest number in the cluster of each; equal for things of one cluster."""
        found = self._parent[of]
        while True:
            higher = self._parent[found]
            if np.array_equal(higher, found):
                self._parent[of] = found
                return found
            found = higher
