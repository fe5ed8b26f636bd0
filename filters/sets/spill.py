"""Rows on disk by partition, for what has to be put together from all over a set that does not fit in memory."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import polars as pl

PARTS: Final = 64
"""Partitions, so that one of them holds about a sixty-fourth of all rows. A power of two."""
BUFFER_BYTES: Final = 32 * 2**20
"""What is held in memory before it goes to disk."""
BLOCK_ROWS: Final = 2**18
"""Rows that are put back in order at a time, where PARTS are enough for it."""


def part_of(hash_: pl.Expr) -> pl.Expr:
    """The partition of a 64-bit hash: its highest bits, so that partitions in order hold the hashes in order."""
    return (hash_ // pl.lit(2**64 // PARTS, pl.UInt64)).cast(pl.UInt8)


class Spill:
    """Rows that come in any order and leave by partition, once. What fits in the buffer never reaches the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buffer: list[pl.DataFrame] = []
        self._bytes = 0
        self._files: dict[int, list[Path]] = {}
        self._flushes = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Rows with their partition, below PARTS, in the column `part`, and the same other columns every time."""
        if rows.height:
            self._buffer.append(rows)
            self._bytes += int(rows.estimated_size())
        if self._bytes > BUFFER_BYTES:
            self._flush()

    def parts(self) -> Iterator[pl.DataFrame]:
        """Every partition that holds rows, in order; or all rows as one where they fit in memory. Without `part`."""
        if not self._flushes:
            if self._buffer:
                yield self._take().drop("part")
            return
        for part in range(PARTS):
            rows = self.part(part)
            if rows is not None:
                yield rows

    def part(self, part: int) -> pl.DataFrame | None:
        """The rows of one partition, without `part`; None where it has none. Those on disk can be had once."""
        if not self._flushes:
            rows = [frame.filter(pl.col("part") == part).drop("part") for frame in self._buffer]
            rows = [frame for frame in rows if frame.height]
            return pl.concat(rows) if rows else None
        if self._buffer:
            self._flush()
        files = self._files.pop(part, [])
        if not files:
            return None
        rows = [pl.read_ipc(file) for file in files]
        for file in files:
            file.unlink()
        return pl.concat(rows)

    def _flush(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        split = self._take().partition_by("part", as_dict=True, include_key=False)
        for (part,), rows in split.items():
            file = self._folder / f"{part}-{self._flushes}.arrow"
            rows.write_ipc(file)
            self._files.setdefault(part, []).append(file)
        self._flushes += 1

    def _take(self) -> pl.DataFrame:
        rows = pl.concat(self._buffer)
        self._buffer, self._bytes = [], 0
        return rows


class Answers:
    """What was found out about some rows, in any order, put back in the order of the rows."""

    def __init__(self, folder: Path, heights: list[int]) -> None:
        """For batches of these heights."""
        self._heights = heights
        self._rows = sum(heights)
        self._block = max(BLOCK_ROWS, -(-self._rows // PARTS))
        self._spill = Spill(folder)

    def add(self, answers: pl.DataFrame) -> None:
        """Answers, each with its `row` in the set from 0; one for a row at most, and the same columns every time."""
        self._spill.add(answers.with_columns(part=(pl.col("row") // self._block).cast(pl.UInt8)))

    def batches(self, columns: dict[str, pl.DataType]) -> Iterator[pl.DataFrame]:
        """A frame for each batch: these columns of each of its rows, null where there is no answer."""
        yield from reslice(self._blocks(columns), self._heights)

    def _blocks(self, columns: dict[str, pl.DataType]) -> Iterator[pl.DataFrame]:
        for part, start in enumerate(range(0, self._rows, self._block)):
            rows = pl.int_range(start, min(start + self._block, self._rows), dtype=pl.UInt64, eager=True).alias("row")
            answers = self._spill.part(part)
            if answers is None:
                answers = pl.DataFrame(schema={"row": pl.UInt64, **columns})
            yield (
                rows.to_frame()
                .join(answers, on="row", how="left", maintain_order="left")
                .select(pl.col(name).cast(kind) for name, kind in columns.items())
            )
        if not self._rows:
            yield pl.DataFrame(schema=columns)


def reslice(frames: Iterable[pl.DataFrame], heights: Iterable[int]) -> Iterator[pl.DataFrame]:
    """The rows of `frames`, at least one, in order, in frames of these heights, together no more than there are."""
    stream = iter(frames)
    rows = next(stream)
    for height in heights:
        while rows.height < height:
            rows = pl.concat([rows, next(stream)])
        yield rows.head(height)
        rows = rows.slice(height)
