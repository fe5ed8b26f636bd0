"""Which shard an image belongs to: the one that it is in since the version that brought it.

An image that the parent version has stays in its shard; a new one goes to a new shard. So a version with other captions,
or with fewer images, leaves the images where they are, and what the Hub has already is not sent again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from exports.storage import Storage

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

NEW: Final = -1
SHARD: Final = re.compile(r"data/train-(\d{5,})\.parquet")
_SEED: Final = 20


@dataclass
class Membership:
    """The shard of every image of the parent version, and what became of them: 20 bytes an image.

    Ids are known by a 64-bit hash. Two of the same hash are in each other's shard, which is harmless.
    """

    ids: np.ndarray  # sorted hashes
    shards: np.ndarray  # int32, of the same order
    captions: np.ndarray  # hashes of the captions
    next_shard: int = 0
    counts: dict[str, int] = field(default_factory=lambda: {"added": 0, "recaptioned": 0, "kept": 0})

    @classmethod
    def none(cls) -> Membership:
        """Of a first version."""
        import numpy as np

        return cls(np.zeros(0, np.uint64), np.zeros(0, np.int32), np.zeros(0, np.uint64))

    @classmethod
    def of(cls, home: Storage, manifest: dict[str, Any]) -> Membership:
        """Of a parent version in `<home>/<version>/`. Raises OSError or ValueError where its shards cannot be read."""
        import numpy as np

        ids, shards, captions, numbers = [], [], [], [-1]
        for file in manifest["files"]:
            match = SHARD.fullmatch(file["path"])
            if not match:
                continue
            numbers.append(int(match[1]))
            for frame in _columns(home, f"{manifest['version']}/{file['path']}"):
                ids.append(_hashes(frame["id"]))
                captions.append(_hashes(frame["caption"]))
                shards.append(np.full(frame.height, numbers[-1], np.int32))
        if not ids:
            return cls.none()
        order = np.argsort(np.concatenate(ids), kind="stable")
        known = int(manifest.get("next_shard", 0))
        in_order, places, texts = (np.concatenate(pieces)[order] for pieces in (ids, shards, captions))
        return cls(in_order, places, texts, next_shard=max(known, max(numbers) + 1))

    def places(self, ids: pl.Series) -> np.ndarray:
        """The shard of each id, NEW for one that the parent has not."""
        import numpy as np

        place, is_known = self._find(ids)
        return np.where(is_known, self.shards[place] if len(self.shards) else NEW, NEW)

    def expect(self, ids: Iterable[pl.Series]) -> dict[int, int]:
        """How many of these ids belong to each shard of the parent."""
        import numpy as np

        expected: dict[int, int] = {}
        for piece in ids:
            numbers, counts = np.unique(self.places(piece), return_counts=True)
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                expected[number] = expected.get(number, 0) + count
        expected.pop(NEW, None)
        return expected

    def count(self, ids: pl.Series, captions: pl.Series) -> None:
        """Count what rows of the new version are against the parent."""
        place, is_known = self._find(ids)
        known = int(is_known.sum())
        self.counts["added"] += len(ids) - known
        self.counts["kept"] += known
        if known:
            self.counts["recaptioned"] += int((self.captions[place[is_known]] != _hashes(captions)[is_known]).sum())

    def changes(self) -> dict[str, int]:
        """Images added, removed and recaptioned since the parent, after all rows were counted."""
        removed = len(self.ids) - self.counts["kept"]
        return {"added": self.counts["added"], "removed": removed, "recaptioned": self.counts["recaptioned"]}

    def _find(self, ids: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        wanted = _hashes(ids)
        if not len(self.ids):
            return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
        place = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        return place, self.ids[place] == wanted


def _hashes(values: pl.Series) -> np.ndarray:
    return values.hash(seed=_SEED).to_numpy()


def _columns(home: Storage, path: str) -> Iterable[pl.DataFrame]:
    import polars as pl
    import pyarrow.parquet as pq

    with home.open(path) as file:
        for batch in pq.ParquetFile(file).iter_batches(50_000, columns=["id", "caption"]):
            yield pl.from_arrow(batch)  # type: ignore[misc]
