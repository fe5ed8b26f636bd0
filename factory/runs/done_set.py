"""What is done, as a set that fits into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import polars as pl


class DoneSet:
    """A set of (image key, view, fingerprint) as sorted 128-bit hashes: 16 bytes an entry, shared between processes.

    Two independent 64-bit hashes make a false hit (an image skipped that was never captioned) about 1e-20 likely for a
    billion images. Polars' hash is stable within one version, and the set is rebuilt at every start.
    """

    def __init__(self, high: np.ndarray, low: np.ndarray) -> None:
        self.high = high
        self.low = low

    @classmethod
    def of(cls, frames: Iterator[pl.DataFrame]) -> DoneSet:
        """From frames with image_key, view and fingerprint."""
        import numpy as np

        pieces = [hash_rows(frame) for frame in frames if frame.height]
        if not pieces:
            empty = np.zeros(0, dtype=np.uint64)
            return cls(empty, empty)
        high = np.concatenate([piece[0] for piece in pieces])
        low = np.concatenate([piece[1] for piece in pieces])
        order = np.lexsort((low, high))
        return cls(high[order], low[order])

    def __len__(self) -> int:
        return len(self.high)

    def contains(self, frame: pl.DataFrame) -> np.ndarray:
        """A boolean per row of a frame with image_key, view and fingerprint."""
        import numpy as np

        high, low = hash_rows(frame)
        found = np.zeros(len(high), dtype=bool)
        if not len(self.high):
            return found
        place = np.searchsorted(self.high, high)
        while True:
            inside = place < len(self.high)
            same = inside & (self.high[np.minimum(place, len(self.high) - 1)] == high)
            found |= same & (self.low[np.minimum(place, len(self.high) - 1)] == low)
            open_rows = same & ~found
            if not open_rows.any():
                return found
            place = np.where(open_rows, place + 1, len(self.high))


def hash_rows(frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Two 64-bit hashes of (image_key, view, fingerprint)."""
    import polars as pl

    joined = frame.select(pl.concat_str(["image_key", "view", "fingerprint"], separator="\x1f"))["image_key"]
    return joined.hash(seed=17).to_numpy(), joined.hash(seed=4242).to_numpy()
