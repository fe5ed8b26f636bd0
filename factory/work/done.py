"""What a run has finished: images that need not be read again. One pass over its captions, a few parts in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from factory.runs import tables
from factory.runs.done_set import DoneSet, hash_rows, mixed
from factory.runs.hash_sets import distinct, is_among
from factory.runs.run import Run
from factory.runs.tables import Status
from factory.sources.shard_keys import DUPLICATE, content_hashes, key_hashes
from factory.work.fingerprint import cut_fingerprint
from factory.work.pools import pools_before
from factory.work.present import caption_hashes, no_numbers
from factory.work.views import ReadyView
from factory.work.work import Work

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARTS_AT_ONCE: Final = 512
BYTES_AT_ONCE: Final = 48_000_000
_COLUMNS: Final = (
    "shard", "image_key", "view", "candidate", "fingerprint", "status", "image_sha256", "original_hash", "inputs_hash"
)  # fmt: skip


@dataclass
class ViewDone:
    """The images of a view, as sorted hashes.

    `images`: of key, bytes and, where the prompt asks for it, text of those that are done; `keys`: of their keys alone;
    `ever`: of the keys of all that have a caption of any recipe; `failed`: of the keys of those that failed and are not done;
    `places`: shard -> keys of those done that were read in it, for shards that were not read to their end.
    """

    images: NDArray[np.uint64] = field(default_factory=no_numbers)
    keys: NDArray[np.uint64] = field(default_factory=no_numbers)
    ever: NDArray[np.uint64] = field(default_factory=no_numbers)
    failed: NDArray[np.uint64] = field(default_factory=no_numbers)
    places: dict[str, NDArray[np.uint64]] = field(default_factory=dict)


@dataclass
class Finished:
    """What is done: a set to ask piece by piece, the images of each view, those in quarantine, and what no longer counts.

    `refused`: fingerprint of an image preparation -> images in quarantine under it, as `ViewDone.images`. `superseded`:
    hashes of the captions under another prompt than the one that their image draws now.
    """

    done: DoneSet
    views: dict[str, ViewDone]
    refused: dict[str, NDArray[np.uint64]]
    superseded: NDArray[np.uint64]


def done_set(work: Work, views: Sequence[ReadyView]) -> DoneSet:
    """What need not be made again of these views: captioned (image, view, fingerprint), and quarantined images under view ''."""
    return finished(work, views, frozenset()).done


def finished(work: Work, views: Sequence[ReadyView], read_shards: Iterable[str]) -> Finished:
    """Look through the captions of a run.

    Args:
        work: whose run.
        views: those to be made.
        read_shards: shards of which it is known what they hold.
    """
    books = _Books(work, views, set(read_shards))
    for rows in caption_pieces(work.run, _COLUMNS):
        books.add(rows)
    return books.close()


def caption_pieces(run: Run, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """These columns of all captions, a few parts at a time."""
    group: list[str] = []
    size = 0
    for name, part_bytes in run.storage.sizes("captions", ".parquet").items():
        if group and (size + part_bytes > BYTES_AT_ONCE or len(group) == PARTS_AT_ONCE):
            yield _piece(run, group, columns)
            group, size = [], 0
        group.append(f"captions/{name}")
        size += part_bytes
    if group:
        yield _piece(run, group, columns)


def _piece(run: Run, paths: list[str], columns: Sequence[str]) -> pl.DataFrame:
    # One by one: a part may be older than a column.
    known = pl.Schema({name: tables.CAPTIONS[name] for name in columns})
    scans = [run.storage.scan([path]) for path in paths] if _differ(run, paths) else [run.storage.scan(paths)]
    each = (one.match_to_schema(known, missing_columns="insert", extra_columns="ignore") for one in scans)
    return pl.concat(each).collect()


def _differ(run: Run, paths: list[str]) -> bool:
    """Whether the first of some parts, which are in the order of their making, lacks a column."""
    return not set(tables.CAPTIONS) <= set(run.storage.scan(paths[:1]).collect_schema())


class _Books:
    """Hashes gathered while the captions pass."""

    def __init__(self, work: Work, views: Sequence[ReadyView], read_shards: set[str]) -> None:
        self.work = work
        self.views = views
        self.read_shards = read_shards
        self.asks = work.asks_original
        self.high: list[NDArray[np.uint64]] = []
        self.low: list[NDArray[np.uint64]] = []
        self.images: dict[str, list[NDArray[np.uint64]]] = {ready.name: [] for ready in views}
        self.keys: dict[str, list[NDArray[np.uint64]]] = {ready.name: [] for ready in views}
        self.ever: dict[str, list[NDArray[np.uint64]]] = {ready.name: [] for ready in views}
        self.failed: dict[str, list[NDArray[np.uint64]]] = {ready.name: [] for ready in views}
        self.places: dict[str, dict[str, list[NDArray[np.uint64]]]] = {ready.name: {} for ready in views}
        self.superseded: list[NDArray[np.uint64]] = []
        drawing = [*work.views, *(ready for rung in work.rungs for ready in rung.views)]
        changed = pools_before(work.run, drawing)
        self.pools = [ready for ready in drawing if (ready.name, ready.rung) in changed and len(ready.fingerprints) > 1]

    def add(self, rows: pl.DataFrame) -> None:
        """Look at some captions."""
        rows = rows.with_columns(
            key=key_hashes(rows["image_key"]), text=pl.col("original_hash").fill_null(0),
            content=content_hashes(pl.col("image_sha256")),
        )  # fmt: skip
        for ready in self.pools:
            rows = self._without_superseded(rows, ready)
        for ready in self.views:
            mine = rows.filter(pl.col("view") == ready.name)
            self.ever[ready.name].append(mine["key"].unique().to_numpy())
            mine = mine.filter(pl.col("fingerprint").is_in(ready.fingerprints))
            # Made before texts were noted: nobody knows which it had.
            mine = mine.filter(~pl.col("fingerprint").is_in(list(self.asks)) | (pl.col("text") != 0))
            self._add(ready, mine)

    def _add(self, ready: ReadyView, rows: pl.DataFrame) -> None:
        is_failed = pl.col("status") == Status.failed
        bad = rows.filter(is_failed)
        good = rows.filter(~is_failed)
        several = ready.view.sampling.n
        if several > 1:  # an image's candidates are written together; of several one may have failed
            image = ["key", "content", "text", "fingerprint"]
            made = pl.col("candidate").n_unique().over(image)
            good = good.filter(made >= several).unique(image, keep="any")
        high, low = hash_rows(good)
        self.high.append(high)
        self.low.append(low)
        self.images[ready.name].append(_images(good))
        self.keys[ready.name].append(good["key"].to_numpy())
        self.failed[ready.name].append(bad["key"].to_numpy())
        for (shard,), group in good.filter(~pl.col("shard").is_in(list(self.read_shards))).group_by("shard"):
            self.places[ready.name].setdefault(str(shard), []).append(group["key"].to_numpy())

    def _without_superseded(self, rows: pl.DataFrame, ready: ReadyView) -> pl.DataFrame:
        """The rows but those whose image draws another prompt of the view now."""
        places = {one: place for place, one in enumerate(ready.fingerprints)}
        if self.work.cut_by is not None:
            places |= {cut_fingerprint(one, self.work.cut_by): place for one, place in places.items()}
        mine = (rows["view"] == ready.name) & rows["fingerprint"].is_in(list(places))
        if not mine.any():
            return rows
        some = rows.filter(mine)
        drawn = pl.Series(ready.choices(some["image_key"].to_list()), dtype=pl.Int64)
        has = some["fingerprint"].replace_strict(places, return_dtype=pl.Int64)
        self.superseded.append(caption_hashes(some.filter(drawn != has)))
        return pl.concat([rows.filter(~mine), some.filter(drawn == has)])

    def close(self) -> Finished:
        """The books."""
        refused: dict[str, list[NDArray[np.uint64]]] = {}
        table = self.work.run.scan("quarantine", tables.QUARANTINE)
        wanted = sorted({*self.work.quarantine_fingerprints, *(ready.image_fingerprint for ready in self.views)})
        rows = table.filter(pl.col("fingerprint").is_in(wanted)).select("image_key", "fingerprint", "image_sha256")
        frame = rows.collect(engine="streaming").with_columns(view=pl.lit(""), text=pl.lit(0, pl.UInt64))
        frame = frame.with_columns(
            key=key_hashes(frame["image_key"]),
            content=pl.when(pl.col("fingerprint") == DUPLICATE).then(0).otherwise(content_hashes(pl.col("image_sha256"))),
        ).cast({"content": pl.UInt64})  # fmt: skip
        for (fingerprint,), group in frame.group_by("fingerprint"):
            refused.setdefault(str(fingerprint), []).append(_images(group))
        high, low = hash_rows(frame)
        return Finished(
            DoneSet.of_hashes(np.concatenate([*self.high, high]), np.concatenate([*self.low, low])),
            {ready.name: self._view(ready.name) for ready in self.views},
            {fingerprint: _unique(pieces) for fingerprint, pieces in refused.items()},
            _unique(self.superseded),
        )

    def _view(self, name: str) -> ViewDone:
        keys, failed = _unique(self.keys[name]), _unique(self.failed[name])
        return ViewDone(
            _unique(self.images[name]),
            keys,
            _unique(self.ever[name]),
            failed[~is_among(failed, keys)],
            {shard: _unique(pieces) for shard, pieces in self.places[name].items()},
        )


def _images(rows: pl.DataFrame) -> NDArray[np.uint64]:
    return mixed(rows["key"].to_numpy(), rows["content"].to_numpy(), rows["text"].to_numpy())


def _unique(pieces: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    return distinct(np.concatenate(pieces)) if pieces else no_numbers()
