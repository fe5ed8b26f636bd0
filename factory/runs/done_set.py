"""What is done, as a set that fits into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray


class DoneSet:
    """A set of pieces of work as sorted 128-bit hashes: 16 bytes an entry, shared between processes.

    A piece is (image key, view, fingerprint), and where they matter the image's bytes and its own text, as hashes in the
    columns `content` and `text`.

    Two independent 64-bit hashes make a false hit (an image skipped that was never captioned) about 1e-20 likely for a
    billion images. Polars' hash is stable within one version, and the set is rebuilt at every start.
    """

    def __init__(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> None:
        self.high = high
        self.low = low

    @classmethod
    def of(cls, frames: Iterator[pl.DataFrame]) -> DoneSet:
        """From frames with image_key, view, fingerprint, and perhaps content and text."""
        import numpy as np

        pieces = [hash_rows(frame) for frame in frames if frame.height]
        if not pieces:
            empty = np.zeros(0, dtype=np.uint64)
            return cls(empty, empty)
        return cls.of_hashes(
            np.concatenate([piece[0] for piece in pieces]), np.concatenate([piece[1] for piece in pieces])
        )

    @classmethod
    def of_hashes(cls, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> DoneSet:
        """From what `hash_rows` gave."""
        order = high.argsort()
        return cls(high[order], low[order])

    def __len__(self) -> int:
        return len(self.high)

    def contains(self, frame: pl.DataFrame) -> NDArray[np.bool_]:
        """A boolean per row of a frame with the columns that the set was made of."""
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


def hash_rows(frame: pl.DataFrame) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Two 64-bit hashes of image_key, view, fingerprint, and of content and text where the frame has them."""
    import polars as pl

    joined = frame.select(pl.concat_str(["image_key", "view", "fingerprint"], separator="\x1f"))["image_key"]
    beside = [frame[name].to_numpy() for name in ("content", "text") if name in frame.columns]
    return mixed(joined.hash(seed=17).to_numpy(), *beside), mixed(joined.hash(seed=4242).to_numpy(), *beside)


def mixed(first: NDArray[np.uint64], *others: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One 64-bit hash of several, row by row (the finaliser of SplitMix64 between them); 0 changes nothing."""
    import numpy as np

    value = np.array(first, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for other in others:
            step = np.array(other, dtype=np.uint64)
            is_there = step != 0
            step = (value + np.uint64(0x9E3779B97F4A7C15)) ^ step
            step = (step ^ (step >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            step = (step ^ (step >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            value = np.where(is_there, step ^ (step >> np.uint64(31)), value)
    return value
