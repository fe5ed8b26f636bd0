"""A sample of a source's images, spread over its shards and stratified by size, as a source of its own."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from factory.errors import SourceError
from factory.images.prepare import PreparedImage, prepare_image
from factory.recipe import ImageSettings, ParquetSource, Recipe
from factory.sources.source import ImageSource, ListedShard, SourceRow
from factory.work.plan import Plan

LOOKED_AT: Final = 3
"""Images are prepared for each one that is taken, where the source has them."""
STRATA: Final = 5
MOST_SHARDS: Final = 64


@dataclass(frozen=True)
class Sample:
    """`rows` as the source has them; of the `looked_at` that they were drawn from, mean bytes of a file and milliseconds that
    preparing one took on one core.
    """

    rows: tuple[SourceRow, ...]
    looked_at: int
    mean_bytes: float
    prepare_ms: float


def draw_sample(plan: Plan, number: int, seed: int) -> Sample:
    """Rows of a plan's source. What cannot be read or decoded is among them, about as often as it comes.

    From up to MOST_SHARDS shards, drawn at random, the first rows of each; of all these, sorted by the pixels that a captioner
    would get and cut into STRATA parts of the same number, as many are drawn from each part.

    Raises:
        SourceError: the source is gone, or holds nothing.
    """
    rng = random.Random(seed)
    shards = list(plan.shards)
    chosen = sorted(rng.sample(range(len(shards)), min(MOST_SHARDS, len(shards))))
    each = max(1, -(-number * LOOKED_AT // max(1, len(chosen))))
    settings = plan.work.seeing[0].view.image
    rows: list[tuple[int, SourceRow]] = []
    seconds = 0.0
    for place in chosen:
        for row in _rows(plan.source, shards[place], each, settings.max_bytes):
            began = time.perf_counter()
            rows.append((_pixels(row, settings), row))
            seconds += time.perf_counter() - began
    if not rows:
        raise SourceError("the source holds no rows to probe")
    rows.sort(key=lambda one: one[0])
    taken = rows if len(rows) <= number else _stratified(rows, number, rng)
    mean = sum(len(row.data or b"") for _, row in rows) / len(rows)
    return Sample(tuple(row for _, row in taken), len(rows), mean, seconds * 1000 / len(rows))


def write_sample(sample: Sample, recipe: Recipe, folder: Path) -> Recipe:
    """Write the rows as Parquet. Returns the recipe with them as its source, and its release, if it has one, beside them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    carried = [name for name in getattr(recipe.source, "fields", ()) if name not in ("id", "image", "text")]
    rows = [
        {"id": row.key, "image": row.data, "text": row.text} | {name: row.fields.get(name) for name in carried}
        for row in sample.rows
    ]
    schema = {"id": pa.string(), "image": pa.large_binary(), "text": pa.string()}
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in schema.items()}
    columns |= {name: pa.array([row[name] for row in rows]) for name in carried}
    file = folder / "sample.parquet"
    pq.write_table(pa.table(columns), file, row_group_size=64)
    source = ParquetSource(path=str(file), key="id", text="text", fields=tuple(carried))
    release = recipe.release
    if release is not None:
        release = release.model_copy(update={"to": str(folder / "release"), "version": "1.0.0"})
    return recipe.model_copy(update={"source": source, "release": release})


def _rows(source: ImageSource, listed: ListedShard, most: int, max_bytes: int) -> Iterator[SourceRow]:
    most = most if listed.take is None else min(most, listed.take)
    for number, row in enumerate(source.read(listed.shard, max_bytes)):
        if number >= most:
            return
        yield row


def _stratified(rows: Sequence[tuple[int, SourceRow]], number: int, rng: random.Random) -> list[tuple[int, SourceRow]]:
    taken: list[tuple[int, SourceRow]] = []
    for stratum in range(STRATA):
        first, last = (len(rows) * at // STRATA for at in (stratum, stratum + 1))
        wanted = number * (stratum + 1) // STRATA - number * stratum // STRATA
        taken += rng.sample(rows[first:last], min(wanted, last - first))
    rng.shuffle(taken)  # else a part of them, as a limit takes it, would be the small ones
    return taken


def _pixels(row: SourceRow, settings: ImageSettings) -> int:
    """Of the image as a captioner gets it; 0 where there is none."""
    prepared = prepare_image(row.data, settings) if row.data is not None else None
    return prepared.width * prepared.height if isinstance(prepared, PreparedImage) else 0
