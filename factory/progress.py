"""What a terminal shows while a run works: states, rates, time left. Plain lines where there is no terminal."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from exports.foreign_text import plain

STATES = ("ok", "truncated", "failed", "quarantined")
PLAIN_EVERY_S = 15.0
NOTE_EVERY_S = 2.0


class Progress:
    """A live line on a terminal, or a plain line every 15 s in a log; silent when asked. A context manager.

    `total`: images and views to caption. `note`: takes what happens now as JSON data every 2 s, for whoever looks from outside;
    None at the end. `usual`: seconds that a phase took in the past of this machine, by its name. `engines` may be set to what
    tells of each running engine what it has to do.
    """

    def __init__(
        self,
        total: int | None,
        quiet: bool = False,
        note: Callable[[dict[str, Any] | None], None] | None = None,
        usual: Mapping[str, float] | None = None,
    ) -> None:
        self.total = total
        self.quiet = quiet
        self.usual = usual or {}
        self.engines: Callable[[], Sequence[Mapping[str, Any]]] = tuple
        self._note = note
        self._now: dict[str, Any] = {"detail": ""}
        self._stages: list[tuple[str, float]] = []
        self._ends = threading.Event()
        self._noting: threading.Thread | None = None
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
        if self._note is not None:
            self._noting = threading.Thread(target=self._keep_noting, daemon=True)
            self._noting.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._note is not None and self._noting is not None:
            self._ends.set()
            self._noting.join(timeout=10)
            self._write_note(None)
        if self._rich is not None:
            self._rich.stop()
        self._terminal.close()

    def phase(self, name: str) -> None:
        """What happens now, and how long it usually takes."""
        self._stages.append((name, time.monotonic()))
        self._now["detail"] = ""
        if name in self.usual:
            name = f"{name}, usually {self.usual[name]:,.0f} s"
        if self._rich is not None:
            self._rich.update(self._task, description=name)
        elif not self.quiet:
            print(plain(f"{name} ..."), file=self._terminal, flush=True)

    def detail(self, text: str) -> None:
        """How far a phase is; in a log every 15 s at most."""
        self._now["detail"] = text
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
        left = (self.total - done) / rate if rate and self.total and done < self.total else None
        self._now |= {
            "images": dict(images), "done": done, "total": self.total, "images_per_s": rate or None,
            "tokens_per_s": tokens.get("output", 0) / elapsed if rate else None, "left_s": left,
            "engine_deaths": deaths, "last_words": words,
        }  # fmt: skip
        parts = [", ".join(f"{images[state]:,} {state}" for state in STATES if images.get(state)) or "0"]
        if rate:
            parts.append(f"{rate:,.1f} images/s")
            parts.append(f"{tokens.get('output', 0) / max(elapsed, 0.001):,.0f} tokens/s")
            if left is not None:
                parts.append(f"{_clock(left)} left")
        if deaths:
            parts.append(f"engine restarted {deaths}x ({words[:80]})")
        line = " | ".join(parts)
        if self._rich is not None:
            self._rich.update(self._task, completed=done, line=line)
        elif not self.quiet and self._is_time():
            print(plain(f"  {line}"), file=self._terminal, flush=True)

    def now(self) -> dict[str, Any]:
        """What happens now, as JSON data: `stages` so far with their seconds, the last of which goes on; `detail` in words; `engines`;
        while it captions `images` by state, `done` of `total`, `images_per_s`, `tokens_per_s`, `left_s`; `engine_deaths`, `last_words`.
        """
        began = [start for _, start in self._stages]
        ended = [*began[1:], time.monotonic()]
        stages = [
            {"name": name, "seconds": round(end - start, 1)}
            for (name, start), end in zip(self._stages, ended, strict=False)
        ]
        return {**self._now, "stages": stages, "engines": [dict(one) for one in self.engines()], "at": time.time()}

    def _keep_noting(self) -> None:
        while not self._ends.wait(NOTE_EVERY_S):
            self._write_note(self.now())

    def _write_note(self, content: dict[str, Any] | None) -> None:
        assert self._note is not None
        try:
            self._note(content)
        except OSError:  # a full disk is told by whoever writes what counts; this is only for looking
            self._ends.set()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
