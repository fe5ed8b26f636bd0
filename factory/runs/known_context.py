"""What an expert is known to say of images, found by their bytes: 16 bytes of memory an image, the texts stay on the disk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from factory.runs import tables
from factory.runs.run import Run
from factory.runs.tables import ExpertState

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PARTS_KEPT: Final = 4
_COLUMNS: Final = ("image_sha256", "text")


@dataclass(frozen=True)
class KnownContext:
    """Where the rows of an expert are: `hashes` of the images' bytes, sorted, and of each the part and the row.

    Failed rows are known only from `since_ms` on, so that another run tries again.
    """

    run: Run
    name: str
    fingerprint: str
    since_ms: int
    hashes: NDArray[np.uint64]
    places: NDArray[np.uint32]  # of each its part
    rows: NDArray[np.uint32]  # of each its row in the part
    parts: tuple[str, ...]

    @classmethod
    def of(cls, run: Run, name: str, fingerprint: str, since_ms: int) -> KnownContext:
        """As the run's table stands now."""
        parts = tuple(run.parts(f"experts/{name}"))
        hashes = [np.zeros(0, dtype=np.uint64)]
        places, rows = [np.zeros(0, dtype=np.uint32)], [np.zeros(0, dtype=np.uint32)]
        counts = (pl.col("state") != ExpertState.failed) | (pl.col("created_ms") >= since_ms)
        for number, part in enumerate(parts):
            frame = run.storage.scan([f"experts/{name}/{part}.parquet"]).with_row_index("row")
            mine = frame.filter(pl.col("fingerprint") == fingerprint, counts).select("row", "image_sha256").collect()
            hashes.append(mine["image_sha256"].hash().to_numpy())
            rows.append(mine["row"].to_numpy())
            places.append(np.full(mine.height, number, dtype=np.uint32))
        every = np.concatenate(hashes)
        order = every.argsort(kind="stable")
        return cls(
            run,
            name,
            fingerprint,
            since_ms,
            every[order],
            np.concatenate(places)[order],
            np.concatenate(rows)[order],
            parts,
        )

    def again(self) -> KnownContext:
        """The same, of the table as it stands now."""
        return self.of(self.run, self.name, self.fingerprint, self.since_ms)

    def __len__(self) -> int:
        return len(self.hashes)


class ContextReader:
    """Reads what is known, a part of the table at a time."""

    def __init__(self, known: KnownContext) -> None:
        self.known = known
        self._open: OrderedDict[str, pl.DataFrame] = OrderedDict()

    def texts(self, images: Sequence[str]) -> dict[str, str | None]:
        """sha256 of an image's bytes -> the text for prompts ('' for nothing found, None where it failed), of those known."""
        try:
            return self._texts(images)
        except FileNotFoundError:  # merged with others meanwhile
            self.known = self.known.again()
            self._open.clear()
            return self._texts(images)

    def _texts(self, images: Sequence[str]) -> dict[str, str | None]:
        known = self.known
        if not len(known) or not images:
            return {}
        wanted = pl.Series(list(images), dtype=pl.String).hash().to_numpy()
        at = np.minimum(np.searchsorted(known.hashes, wanted), len(known) - 1)
        found: dict[str, str | None] = {}
        for image, place, is_there in zip(images, at.tolist(), (known.hashes[at] == wanted).tolist(), strict=True):
            if not is_there:
                continue
            sha256, text = self._part(known.parts[known.places[place]]).row(int(known.rows[place]))
            if sha256 == image:
                found[image] = text
        return found

    def _part(self, name: str) -> pl.DataFrame:
        if name not in self._open:
            path = f"experts/{self.known.name}/{name}.parquet"
            schema = pl.Schema({column: tables.EXPERTS[column] for column in _COLUMNS})
            self._open[name] = (
                self.known.run.storage.scan([path]).match_to_schema(schema, extra_columns="ignore").collect()
            )
            while len(self._open) > _PARTS_KEPT:
                self._open.popitem(last=False)
        self._open.move_to_end(name)
        return self._open[name]
