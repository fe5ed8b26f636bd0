"""Rows that are kept while they are few."""

import pickle
from collections.abc import Iterator

import pytest

from factory.sources import kept
from factory.sources.kept import KeptRows
from factory.sources.source import Shard, SourceRow


class Counting:
    """A source of one shard that counts how often it was read."""

    def __init__(self, *rows: SourceRow) -> None:
        self.rows = rows
        self.reads = 0

    def shards(self) -> Iterator[Shard]:
        yield Shard("one", None, "1")

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        self.reads += 1
        yield from self.rows


SHARD = Shard("one", None, "1")


def test_a_shard_is_read_once_and_gives_the_same_rows() -> None:
    source = Counting(SourceRow("a", b"1"), SourceRow("b", b"2"))
    rows = KeptRows(source)
    assert list(rows.read(SHARD, 9)) == list(rows.read(SHARD, 9)) == list(source.rows)
    assert source.reads == 1


def test_a_changed_shard_another_bound_and_half_a_read_are_read_again() -> None:
    source = Counting(SourceRow("a", b"1"), SourceRow("b", b"2"))
    rows = KeptRows(source)
    next(rows.read(SHARD, 9))
    list(rows.read(SHARD, 9))
    list(rows.read(SHARD, 8))
    list(rows.read(Shard("one", None, "2"), 9))
    assert source.reads == 4


def test_what_could_not_be_read_is_tried_again() -> None:
    source = Counting(SourceRow("a", None, problem="unreadable"))
    rows = KeptRows(source)
    list(rows.read(SHARD, 9))
    list(rows.read(SHARD, 9))
    assert source.reads == 2


def test_more_than_there_is_room_for_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "KEPT_BYTES", 1000)
    source = Counting(SourceRow("a", b"1" * 2000))
    rows = KeptRows(source)
    assert [len(row.data or b"") for _ in range(2) for row in rows.read(SHARD, 9)] == [2000, 2000]
    assert source.reads == 2


def test_workers_get_the_source_alone() -> None:
    rows = KeptRows(Counting(SourceRow("a", b"1")))
    list(rows.read(SHARD, 9))
    assert isinstance(pickle.loads(pickle.dumps(rows)), Counting)
