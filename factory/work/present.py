"""Which images are in the source now, and so which captions of a run count.

A run keeps everything that it ever made. What counts is what belongs to an image that the source has, within `--limit`,
with the bytes and the text that it has now, under the prompt that it draws now. Held as hashes: 24 bytes an image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from factory.recipe import ORIGINAL
from factory.runs.done_set import hash_rows, mixed
from factory.runs.hash_sets import is_among
from factory.sources.shard_keys import UNREAD, content_hashes, hash_scheme, key_hashes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from factory.runs.run import Run

PRESENT: Final = "present"
"""Where a run keeps it: keys.parquet, superseded.parquet, state.json."""
COLUMNS: Final = (
    "shard", "image_key", "view", "fingerprint", "image_sha256", "original_hash", "inputs_hash", "created_ms"
)  # fmt: skip
"""Of tables.CAPTIONS: what tells whether a row counts."""
_STATE: Final = f"{PRESENT}/state.json"
_WRITTEN_ROWS: Final = 1_000_000


@dataclass(frozen=True, eq=False)
class Present:
    """The images of a source, sorted by the hash of their keys; a key that stands in two shards is there twice.

    `unread`: shards of which nobody knows what they hold, whose captions count as they are. `readings`: shard -> when its own
    texts were read, which names the rows of the view `original` that count; None: all. `superseded`: hashes of captions under
    another prompt than the one that their image draws, and of fused ones that were made from other captions.
    """

    keys: NDArray[np.uint64]
    contents: NDArray[np.uint64]
    texts: NDArray[np.uint64]
    unread: frozenset[str]
    readings: dict[str, int] | None
    superseded: NDArray[np.uint64]

    def mask(self, rows: pl.DataFrame, asks_original: frozenset[str]) -> pl.Series:
        """Whether each row, with COLUMNS, counts. `asks_original`: fingerprints of prompts with {original}."""
        there = self._are_there(rows, asks_original) | rows["shard"].is_in(list(self.unread)).to_numpy()
        if len(self.superseded):
            there &= ~is_among(caption_hashes(rows), self.superseded)
        is_original = (rows["view"] == ORIGINAL).to_numpy()
        if is_original.any():
            there = np.where(is_original, self._is_last_reading(rows), there)
        return pl.Series(there, dtype=pl.Boolean)

    def holds(self, keys: NDArray[np.uint64], contents: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether there are images with these keys and bytes (UNREAD: any bytes)."""
        nothing = np.zeros(len(keys), dtype=np.uint64)
        return self._matches(keys, contents, nothing, np.zeros(len(keys), dtype=bool))

    def _are_there(self, rows: pl.DataFrame, asks_original: frozenset[str]) -> NDArray[np.bool_]:
        keys = key_hashes(rows["image_key"]).to_numpy()
        beside = rows.select(
            content_hashes(pl.col("image_sha256")).alias("content"),
            pl.col("original_hash").fill_null(0).alias("text"),
            pl.col("fingerprint").is_in(list(asks_original)).alias("asks"),
        )
        contents, texts, asks = (beside[name].to_numpy() for name in ("content", "text", "asks"))
        return self._matches(keys, contents, texts, asks)

    def _matches(
        self, keys: NDArray[np.uint64], contents: NDArray[np.uint64], texts: NDArray[np.uint64], asks: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        found = np.zeros(len(keys), dtype=bool)
        if not len(self.keys):
            return found
        place = np.searchsorted(self.keys, keys)
        while True:
            at = np.minimum(place, len(self.keys) - 1)
            same = (place < len(self.keys)) & (self.keys[at] == keys)
            is_unread = (contents == UNREAD) | (self.contents[at] == UNREAD)
            same_content = is_unread | (contents == self.contents[at])
            same_text = ~asks | (self.texts[at] == texts) | (self.texts[at] == 0)
            found |= same & same_content & same_text
            left = same & ~found
            if not left.any():
                return found
            place = np.where(left, place + 1, len(self.keys))

    def _is_last_reading(self, rows: pl.DataFrame) -> NDArray[np.bool_]:
        if self.readings is None:
            return np.ones(rows.height, dtype=bool)
        last = rows["shard"].replace_strict(self.readings, default=-1, return_dtype=pl.Int64)
        return (last == rows["created_ms"]).fill_null(False).to_numpy()

    @property
    def id(self) -> str:
        """Identifies what counts: the same for the same images, bytes and texts, in whichever order."""
        import hashlib

        digest = hashlib.sha256()
        for values in (self.keys, self.contents, self.texts, self.superseded):
            digest.update(len(values).to_bytes(8) + np.ascontiguousarray(values).tobytes())
        digest.update(repr((sorted(self.unread), sorted((self.readings or {}).items()))).encode())
        return digest.hexdigest()[:16]

    # --- on the disk ---

    def write(self, run: Run) -> None:
        """Keep it in the run, for those who open the run without its source."""
        run.storage.write_frames(f"{PRESENT}/keys.parquet", self._frames(), _KEYS)
        superseded = pl.DataFrame({"caption": self.superseded}, schema={"caption": pl.UInt64})
        run.storage.write_parquet(f"{PRESENT}/superseded.parquet", superseded)
        state = {"id": self.id, "scheme": hash_scheme(), "unread": sorted(self.unread), "readings": self.readings}
        run.write_json(_STATE, state)

    def _frames(self) -> Iterator[pl.DataFrame]:
        for start in range(0, max(1, len(self.keys)), _WRITTEN_ROWS):
            piece = slice(start, start + _WRITTEN_ROWS)
            columns = (self.keys[piece], self.contents[piece], self.texts[piece])
            yield pl.DataFrame(dict(zip(_KEYS, columns, strict=True)), schema=_KEYS)


_KEYS: Final = pl.Schema({"key": pl.UInt64, "content": pl.UInt64, "text": pl.UInt64})


def caption_hashes(rows: pl.DataFrame) -> NDArray[np.uint64]:
    """What `Present.superseded` holds of captions: image, view, what made them, and of fused ones what they were made from."""
    named = rows.select("image_key", "view", "fingerprint")
    return mixed(hash_rows(named)[0], rows["inputs_hash"].fill_null(0).to_numpy())


def no_numbers() -> NDArray[np.uint64]:
    """An empty array of hashes."""
    return np.zeros(0, dtype=np.uint64)


def present_of(run: Run) -> Present | None:
    """What a run knew of its source when it last captioned; None where it knows nothing: then all that it has counts."""
    state = run.read_json(_STATE)
    if state is None or state["scheme"] != hash_scheme():
        return None
    keys = run.storage.scan([f"{PRESENT}/keys.parquet"]).collect()
    superseded = run.storage.scan([f"{PRESENT}/superseded.parquet"]).collect()["caption"].to_numpy()
    arrays = [keys[name].to_numpy() for name in _KEYS]
    return Present(arrays[0], arrays[1], arrays[2], frozenset(state["unread"]), state["readings"], superseded)
