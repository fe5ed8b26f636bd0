"""Which images are not in the release as they were selected, and why: a row each, kept in the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from factory.runs.run import LEFT_OUT_ROWS, Run
from factory.runs.tables import LEFT_OUT

FLUSH_ROWS: Final = 50_000


class LeftOut:
    """Counts the images by reason, and keeps their rows in files of `scratch` while they are many."""

    def __init__(self, scratch: Path) -> None:
        self.counts: Counter[str] = Counter()
        self._scratch = scratch
        self._rows: list[tuple[str, str, str]] = []
        self._files: list[Path] = []

    def add(self, key: str, shard: str, reason: str) -> None:
        """One image."""
        self.counts[reason] += 1
        self._rows.append((key, shard, reason))
        if len(self._rows) == FLUSH_ROWS:
            self._flush()

    def add_all(self, images: pl.DataFrame, reason: str) -> None:
        """The images of a frame with image_key and shard, each once."""
        for key, shard in images.select("image_key", "shard").unique("image_key", maintain_order=True).iter_rows():
            self.add(key, shard, reason)

    def write(self, run: Run) -> None:
        """Write the rows into the run, or remove older ones where there are none now."""
        self._flush()
        if not self._files:
            run.storage.remove(LEFT_OUT_ROWS)
            return
        run.storage.write_frames(LEFT_OUT_ROWS, self._frames(), LEFT_OUT)

    def _frames(self) -> Iterator[pl.DataFrame]:
        for file in self._files:
            yield pl.read_ipc(file)

    def _flush(self) -> None:
        if self._rows:
            file = self._scratch / f"left-out-{len(self._files):06d}.arrow"
            pl.DataFrame(self._rows, schema=LEFT_OUT, orient="row").write_ipc(file)
            self._files.append(file)
            self._rows = []


def written_counts(run: Run) -> dict[str, int]:
    """Images by reason, as the run has them of the release that it made last."""
    if not run.storage.exists(LEFT_OUT_ROWS):
        return {}
    counted = run.storage.scan([LEFT_OUT_ROWS]).group_by("reason").len().sort("reason").collect(engine="streaming")
    return dict(counted.iter_rows())
