"""What a source holds, shard by shard, as it was read last: the books of what is there, beside those of what is done."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from factory.runs.done_set import mixed
from factory.runs.hash_sets import distinct, is_among
from factory.runs.run import Run
from factory.sources.shard_keys import UNREAD, hash_scheme, key_hashes, shard_stat, text_hash
from factory.work.present import Present, no_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from factory.sources.source import ImageSource, Shard
    from factory.work.done import Finished, ViewDone
    from factory.work.views import ReadyView

Columns = tuple["NDArray[np.uint64]", "NDArray[np.uint64]", "NDArray[np.uint64]"]
"""Of each row of a shard its key, its bytes and its text."""


@dataclass(frozen=True)
class Reading:
    """A shard as it was read. `is_certain`: it looks as it did then; else its keys are known, and not its bytes and texts."""

    columns: Columns
    take: int | None
    is_certain: bool


class Roll:
    """The readings of a source's shards."""

    def __init__(self, readings: dict[str, Reading], doubtful: dict[str, int]) -> None:
        """`doubtful`: shard -> how many rows it had."""
        self.readings = readings
        self.doubtful = doubtful

    @classmethod
    def of(cls, run: Run, shards: Sequence[Shard], reading: str, source: ImageSource, always: bool) -> Roll:
        """What a run knows of these shards.

        Args:
            reading: identifies the settings that they are read with.
            source: asked for the keys of shards that changed or came, where it can tell them without reading images.
            always: shards are to be compared even where they look the same.
        """
        known = run.shards()
        known = known.filter(known["scheme"] == hash_scheme())
        places = {name: place for place, name in enumerate(known["shard"])}
        stats, takes = known["stat"].to_list(), known["take"].to_list()
        lists = [known[name] for name in ("keys", "contents", "texts")]
        lengths = known["keys"].list.len().to_list()
        ends = known["keys"].list.len().cum_sum().to_list()
        flat = [
            one.explode(empty_as_null=False, keep_nulls=False).to_numpy() if ends else no_numbers() for one in lists
        ]
        readings: dict[str, Reading] = {}
        doubtful: dict[str, int] = {}
        is_begun = bool(run.parts("captions"))
        for shard in shards:
            place = places.get(shard.name)
            if place is None and not is_begun:
                continue
            if place is not None and stats[place] == shard_stat(shard, reading):
                piece = slice(ends[place - 1] if place else 0, ends[place])
                readings[shard.name] = Reading(
                    (flat[0][piece], flat[1][piece], flat[2][piece]), takes[place], not always
                )
                if always:
                    doubtful[shard.name] = lengths[place]
                continue
            if place is not None:
                doubtful[shard.name] = lengths[place]
            keys = _listed_keys(source, shard)
            if keys is not None:
                nothing = np.zeros(len(keys), dtype=np.uint64)
                readings[shard.name] = Reading((keys, nothing, nothing), None, False)
        return cls(readings, doubtful)

    @property
    def names(self) -> Collection[str]:
        """The shards whose keys are known."""
        return self.readings

    def is_doubtful(self, name: str) -> bool:
        """Whether a shard was read before and may be another now."""
        return name in self.doubtful

    def rows_before(self, name: str) -> int:
        """How many rows a doubtful shard had when it was read."""
        return self.doubtful[name]

    def rows(self, name: str) -> int | None:
        """How many rows a shard has, where it was read to its end and looks as it did then."""
        known = self.readings.get(name)
        return len(known.columns[0]) if known is not None and known.take is None else None

    def held(self, taken: Sequence[tuple[str, int | None]], books: Finished) -> Held:
        """What these shards hold, of each the first rows that are taken."""
        pieces: list[Columns] = []
        lengths: list[int] = []
        certain: list[bool] = []
        unread: set[str] = set()
        repeats = 0
        for name, take in taken:
            known = self.readings.get(name)
            enough = known is not None and (known.take is None or (take is not None and take <= known.take))
            if known is None or not enough:
                unread.add(name)
                lengths.append(0)
                certain.append(False)
                continue
            keys, contents, texts = (one[:take] for one in known.columns)
            if len(distinct(keys)) < len(keys):
                first = np.sort(np.unique(keys, return_index=True)[1])
                repeats += len(keys) - len(first)
                keys, contents, texts = keys[first], contents[first], texts[first]
            pieces.append((keys, contents, texts))
            lengths.append(len(keys))
            certain.append(known.is_certain)
        whole = [np.concatenate(one) for one in zip(*pieces, strict=True)] if pieces else [no_numbers()] * 3
        changed = (self.doubtful.keys() & {name for name, _ in taken}) - set(self.readings)
        return Held(
            keys=whole[0],
            contents=whole[1],
            texts=whole[2],
            lengths=np.array(lengths, np.int64),
            certain=np.array(certain, bool),
            unread=frozenset(unread),
            repeats=repeats,
            changed=bool(changed),
            books=books,
        )


def _listed_keys(source: ImageSource, shard: Shard) -> NDArray[np.uint64] | None:
    """The hashes of a shard's keys, where the source can tell them without reading its images."""
    import polars as pl

    listed = getattr(source, "keys", None)
    keys = listed(shard) if listed is not None else None
    return None if keys is None else key_hashes(pl.Series(keys, dtype=pl.String)).to_numpy()


@dataclass(frozen=True, eq=False)
class Held:
    """The images of some shards, each key once a shard, in the order of the shards; `lengths` and `certain` are of shards.

    `unread`: the shards that it knows nothing of; `changed`: one of them was read before. `repeats`: rows whose key came before.
    """

    keys: NDArray[np.uint64]
    contents: NDArray[np.uint64]
    texts: NDArray[np.uint64]
    lengths: NDArray[np.int64]
    certain: NDArray[np.bool_]
    unread: frozenset[str]
    repeats: int
    changed: bool
    books: Finished

    @property
    def no_images(self) -> NDArray[np.uint64]:
        """No hashes."""
        return no_numbers()

    @property
    def is_open(self) -> bool:
        """Whether there are shards of which it knows nothing."""
        return bool(self.unread)

    @cached_property
    def _rows_certain(self) -> NDArray[np.bool_]:
        return np.repeat(self.certain, self.lengths)

    @cached_property
    def _without_text(self) -> NDArray[np.uint64]:
        return mixed(self.keys, self.contents)

    @cached_property
    def begun(self) -> NDArray[np.uint64]:
        """Keys of the images that are done in shards that were not read to their end."""
        pieces = [
            keys for view in self.books.views.values() for name, keys in view.places.items() if name in self.unread
        ]
        return distinct(np.concatenate(pieces)) if pieces else no_numbers()

    def done(self, view: ViewDone) -> NDArray[np.bool_]:
        """Of each image whether it is done in a view; of one whose bytes are not known, whether its key is."""
        exact = is_among(self._without_text, view.images)
        exact |= is_among(mixed(self.keys, self.contents, self.texts), view.images)
        by_key = ~self._rows_certain | (self.contents == UNREAD)
        return np.where(by_key, is_among(self.keys, view.keys), exact)

    @property
    def has_text(self) -> NDArray[np.bool_]:
        """Of each image whether it has a text of its own, as far as that is known."""
        known: NDArray[np.bool_] = (self.texts != 0) & (self.texts != np.uint64(text_hash(None)))
        return known

    def refused(self, refused: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Of each image whether it is among those in quarantine."""
        return is_among(self._without_text, refused)

    def done_in_open(self, view: ViewDone) -> int:
        """Images done in a view that were read in shards of which it knows nothing."""
        return sum(len(keys) for name, keys in view.places.items() if name in self.unread)

    def among(self, images: NDArray[np.uint64]) -> int:
        """How many of its images are among these, by key and bytes or by key alone."""
        return int((is_among(self._without_text, images) | is_among(self.keys, images)).sum())

    def complete(self, books: Finished, views: Sequence[ReadyView]) -> list[bool]:
        """Of each shard whether all its images are done, or refused, in each of these views."""
        whole = np.ones(len(self.keys), dtype=bool)
        for ready in views:
            refused = self.refused(books.refused.get(ready.image_fingerprint, no_numbers()))
            whole &= self.done(books.views[ready.name]) | refused | (self.has_text & ready.fills_gaps)
        ends = np.cumsum(self.lengths)
        missing = np.concatenate([[0], np.cumsum(~whole)])
        return [
            bool(certain and missing[end] == missing[end - length])
            for certain, end, length in zip(self.certain, ends, self.lengths, strict=True)
        ]

    def present(self, readings: dict[str, int] | None, superseded: NDArray[np.uint64]) -> Present:
        """The same as what says which captions count."""
        order = self.keys.argsort(kind="stable")
        known = self._rows_certain[order]
        contents = np.where(known, self.contents[order], np.uint64(UNREAD))
        texts = np.where(known, self.texts[order], np.uint64(0))
        return Present(self.keys[order], contents, texts, self.unread, readings, superseded)
