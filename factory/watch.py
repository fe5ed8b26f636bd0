"""What became of engines: a small Ray actor that outlives them, so that one image cannot kill engines for ever.

An engine that dies takes its process with it and Ray starts another, which is given the same rows again. Only someone
outside can know that they were there before:

- a row in flight at one death is tried again as usual (most deaths are not the row's doing);
- after ALONE_AFTER deaths it is tried alone;
- when the engine dies on it alone, it is `failed: engine_died` and the run goes on;
- when engines die GIVE_UP times in a row and not one request was answered in between, the run stops with the engine's
  own message.

A process that vanishes without a word (killed, out of memory) is noticed because its rows were begun and begin again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

GIVE_UP = 5
ALONE_AFTER = 2


@dataclass
class EngineWatch:
    """Deaths per row and in a row. One instance per engine group, run as a Ray actor."""

    deaths: dict[str, int] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    alone: set[str] = field(default_factory=set)
    guilty: set[str] = field(default_factory=set)
    in_a_row: int = 0
    total: int = 0
    last_message: str = ""

    def begin(self, rows: list[str]) -> tuple[dict[str, int], set[str]]:
        """Note rows as in flight. Returns the deaths each has seen (only those with any) and those proven guilty."""
        vanished = [row for row in rows if row in self.open]
        if vanished:
            self._blame(vanished)
        self.open.update(rows)
        return {row: self.deaths[row] for row in rows if row in self.deaths}, self.guilty.intersection(rows)

    def try_alone(self, row: str) -> None:
        """A row is about to be tried alone: if its engine dies now, it was this row."""
        self.alone.add(row)

    def survived(self, row: str) -> None:
        """A row tried alone was answered: it is not to blame, and the engine can work."""
        self.alone.discard(row)
        self.deaths.pop(row, None)
        self.in_a_row = 0

    def end(self, rows: list[str], answered: int) -> None:
        """Rows that are written; `answered` of them by the engine."""
        self.open.difference_update(rows)
        for row in rows:
            self.deaths.pop(row, None)
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
