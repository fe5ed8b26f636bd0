"""Merging the small parts of captions while more are made, in a thread: a part a batch would be 150,000 files of ten million images."""

from __future__ import annotations

import threading
from types import TracebackType

from factory.runs.run import FRESH_PARTS, Run


class MergingParts:
    """A context manager around captioning. What is being merged when it ends is finished first."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._since = 0
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def __enter__(self) -> MergingParts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def written(self) -> None:
        """One more part was written. Raises OSError where the last merging could not write."""
        if self._error is not None:
            raise self._error
        self._since += 1
        if self._since >= FRESH_PARTS and (self._thread is None or not self._thread.is_alive()):
            self._since = 0
            self._thread = threading.Thread(target=self._merge, name="merging parts", daemon=True)
            self._thread.start()

    def _merge(self) -> None:
        try:
            self.run.compact_fresh()
        except Exception as error:  # raised again by the thread that captions
            self._error = error
