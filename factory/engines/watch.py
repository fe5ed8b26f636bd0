"""What became of engines: a small Ray actor that outlives them, so that one image cannot kill engines for ever.

An engine that dies takes its process with it and Ray starts another, which is given the same rows again. Only someone
outside can know that they were there before:

- a row in flight at one death is tried again as usual (most deaths are not the row's doing);
- after ALONE_AFTER deaths it is tried alone;
- when the engine dies on it alone, it is `failed: engine_died` and the run goes on;
- when engines die GIVE_UP times in a row and not one request was answered in between, the run stops with the engine's
  own message.

A process that vanishes without a word (killed, out of memory) is noticed because its rows were begun and begin again.

Ray gives whole tasks again, and a task holds several batches. The last REMEMBERED rows that were written are known here,
so that a batch which was finished before its process died is not captioned again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

GIVE_UP = 5
ALONE_AFTER = 2
REMEMBERED = 50_000


@dataclass(frozen=True, slots=True)
class Past:
    """What is known about rows that begin: already `written` (row -> state), `deaths` seen, and those proven `guilty`."""

    written: dict[str, str]
    deaths: dict[str, int]
    guilty: set[str]


@dataclass
class EngineWatch:
    """Deaths per row and in a row. One instance per engine group, run as a Ray actor."""

    deaths: dict[str, int] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    alone: set[str] = field(default_factory=set)
    guilty: set[str] = field(default_factory=set)
    written: OrderedDict[str, str] = field(default_factory=OrderedDict)
    in_a_row: int = 0
    total: int = 0
    last_message: str = ""

    def begin(self, rows: list[str]) -> Past:
        """Note rows as in flight. Returns what is known about them; rows already written are not noted."""
        written = {row: self.written[row] for row in rows if row in self.written}
        fresh = [row for row in rows if row not in written]
        vanished = [row for row in fresh if row in self.open]
        if vanished:
            self._blame(vanished)
        self.open.update(fresh)
        deaths = {row: self.deaths[row] for row in fresh if row in self.deaths}
        return Past(written, deaths, self.guilty.intersection(fresh))

    def try_alone(self, row: str) -> None:
        """A row is about to be tried alone: if its engine dies now, it was this row."""
        self.alone.add(row)

    def survived(self, row: str) -> None:
        """A row tried alone was answered: it is not to blame, and the engine can work."""
        self.alone.discard(row)
        self.deaths.pop(row, None)
        self.in_a_row = 0

    def end(self, states: dict[str, str], answered: int) -> None:
        """Rows that are written, with their state; `answered` captions of them by the engine."""
        self.open.difference_update(states)
        for row, state in states.items():
            self.deaths.pop(row, None)
            self.written[row] = state
        while len(self.written) > REMEMBERED:
            self.written.popitem(last=False)
        if answered:
            self.in_a_row = 0

    def died(self, rows: list[str], message: str) -> str | None:
        """An engine died with these rows in flight. Returns what to stop the run with, None to go on."""
        self.total += 1
        self.in_a_row += 1
        self.last_message = message
        self._blame(rows)
        if self.in_a_row < GIVE_UP:
            return None
        return f"the engine died {self.in_a_row} times without answering once; its last words: {message}"

    def state(self) -> tuple[int, str]:
        """For the progress display: deaths so far and the last message."""
        return self.total, self.last_message

    def _blame(self, rows: list[str]) -> None:
        suspects = self.alone.intersection(rows)
        self.guilty.update(suspects)
        self.alone.difference_update(suspects)
        for row in suspects or rows:
            self.deaths[row] = self.deaths.get(row, 0) + 1
        self.open.difference_update(rows)
