"""Rows that come one by one, each on the disk when it is acknowledged."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

import polars as pl

from factory.runs.clock import now_ms
from factory.runs.run import Run, new_part_name

PART_ROWS: Final = 500
"""A part that has so many rows is left, and another begun: each row writes its part again."""


class GrowingPart:
    """Appends rows to a table of a run, for one process; several processes have parts of their own.

    A part appears by rename, as every part does, and is replaced by a longer one with each row. So a process may be
    killed at any moment: what `append` returned from is kept. Safe to call from several threads.
    """

    def __init__(self, run: Run, table: str, schema: pl.Schema) -> None:
        self.run = run
        self.table = table
        self._empty = schema.to_frame()
        self._rows = self._empty
        self._name = new_part_name()
        self._last_ms = 0
        self._lock = threading.Lock()

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows of the table's columns but `created_ms`, which is put in. Raises OSError where they cannot be written."""
        with self._lock:
            stamped = []
            for row in rows:
                self._last_ms = max(now_ms(), self._last_ms + 1)
                stamped.append({**row, "created_ms": self._last_ms})
            more = pl.DataFrame(stamped, schema=self._empty.schema, orient="row")
            longer = pl.concat([self._rows, more])
            self.run.append(self.table, longer, self._name)
            self._rows = longer
            if longer.height >= PART_ROWS:
                self._rows, self._name = self._empty, new_part_name()
