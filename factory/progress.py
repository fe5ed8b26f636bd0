"""What a terminal shows while a run works: states, rates, time left. Plain lines where there is no terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from exports.foreign_text import plain

STATES = ("ok", "truncated", "failed", "quarantined")
PLAIN_EVERY_S = 15.0


class Progress:
    """A live line on a terminal, or a plain line every 15 s in a log; silent when asked. A context manager.

    `total`: images and views to caption. `usual`: seconds that a phase took in the past of this machine, by its name.
    """

    def __init__(self, total: int | None, quiet: bool = False, usual: Mapping[str, float] | None = None) -> None:
        self.total = total
        self.quiet = quiet
        self.usual = usual or {}
        self.started: float | None = None
        self._said = 0.0
        self._rich: Any = None
        self._task: Any = None
        self._line = ""

    def __enter__(self) -> Progress:
        # A handle of its own: while Ray works, what others write to stderr goes to a file.
        self._terminal = os.fdopen(os.dup(2), "w")
        if not self.quiet and self._terminal.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, SpinnerColumn, TextColumn
            from rich.progress import Progress as Bars

            columns = [
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[line]}", markup=False),
            ]
            self._rich = Bars(*columns, console=Console(file=self._terminal), transient=True)
            self._rich.start()
            self._task = self._rich.add_task("", total=self.total, line="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._rich is not None:
            self._rich.stop()
        self._terminal.close()

    def phase(self, name: str) -> None:
        """What happens now, and how long it usually takes."""
        if name in self.usual:
            name = f"{name}, usually {self.usual[name]:,.0f} s"
        if self._rich is not None:
            self._rich.update(self._task, description=name)
        elif not self.quiet:
            print(plain(f"{name} ..."), file=self._terminal, flush=True)

    def detail(self, text: str) -> None:
        """How far a phase is; in a log every 15 s at most."""
        if self._rich is not None:
            self._rich.update(self._task, description=text)
        elif not self.quiet and self._is_time():
            print(plain(f"  {text}"), file=self._terminal, flush=True)

    def _is_time(self) -> bool:
        now = time.monotonic()
        if now - self._said <= PLAIN_EVERY_S:
            return False
        self._said = now
        return True

    def update(self, images: Mapping[str, int], tokens: Mapping[str, int], deaths: int, words: str) -> None:
        """New counts: (image, view) pairs and quarantined images by state, tokens so far, engine deaths."""
        now = time.monotonic()
        if self.started is None:
            self.started = now
            self._first = sum(images.values())
            self.phase("captioning")
        done = sum(images.values())
        elapsed = now - self.started
        rate = (done - self._first) / elapsed if elapsed > 0.5 else 0.0
        parts = [", ".join(f"{images[state]:,} {state}" for state in STATES if images.get(state)) or "0"]
        if rate:
            parts.append(f"{rate:,.1f} images/s")
            parts.append(f"{tokens.get('output', 0) / max(elapsed, 0.001):,.0f} tokens/s")
            if self.total and done < self.total:
                parts.append(f"{_clock((self.total - done) / rate)} left")
        if deaths:
            parts.append(f"engine restarted {deaths}x ({words[:80]})")
        line = " | ".join(parts)
        if self._rich is not None:
            self._rich.update(self._task, completed=done, line=line)
        elif not self.quiet and self._is_time():
            print(plain(f"  {line}"), file=self._terminal, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
