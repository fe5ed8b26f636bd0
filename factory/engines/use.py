"""How an engine's time was used: with captions, with questions, or waiting for requests; and the same of a whole stage."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Kind = Literal["captions", "questions"]
PARTS: Final = ("start", "starved", "captions", "questions", "drained")
"""Where the seconds of captioning go; `StageUse.seconds` says how each is counted."""
NOTHING: Final = {"captions": 0.0, "questions": 0.0, "all": 0.0}
"""Of an engine that has not begun, or of which nothing is known."""


class EngineUse:
    """Seconds of one engine by what it did. It is full with as many requests as it runs together; with fewer, that share of
    the second counts as used, and is split between captions and questions as the requests are.
    """

    def __init__(self, together: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`together`: requests that the engine runs at once. The clock starts now."""
        self._together = together
        self._clock = clock
        self._open: Counter[Kind] = Counter()
        self._seconds = dict(NOTHING)
        self._last = clock()

    @contextmanager
    def request(self, kind: Kind) -> Iterator[None]:
        """Count a request for as long as it runs."""
        self._count()
        self._open[kind] += 1
        try:
            yield
        finally:
            self._count()
            self._open[kind] -= 1

    def seconds(self) -> dict[str, float]:
        """Since the start: used for `captions` and for `questions`, and `all` that passed."""
        self._count()
        return dict(self._seconds)

    def _count(self) -> None:
        now = self._clock()
        passed, self._last = now - self._last, now
        self._seconds["all"] += passed
        share = passed / max(self._together, self._open.total())
        for kind, number in self._open.items():
            self._seconds[kind] += share * number


@dataclass
class StageUse:
    """What the engines of a stage did between its first batch and its end, asked of them and put together."""

    ray: Any
    began: float
    first: dict[int, Any] = field(default_factory=dict)
    read: dict[int, Any] = field(default_factory=dict)

    def begin(self, engines: Sequence[Any]) -> None:
        """Running engines (`factory.engines.pool.RunningEngine`) are about to get their first batch; those that are not up answer once they are."""
        self.first = _ask(engines)

    def all_is_read(self, engines: Sequence[Any]) -> None:
        """The source holds no more: what engines wait from now on is not for want of images."""
        self.read = _ask(engines)

    def seconds(self, engines: Sequence[Any]) -> dict[str, float]:
        """By PARTS; they add up to the seconds since the stage began.

        start: no engine was up, or none had been given anything; captions, questions: engines were used for them; starved: they
        could have taken more requests while images were still being read; drained: as the last ones ended. Means over the
        engines. An engine that died is not counted; what it did counts as start.
        """
        wall = time.monotonic() - self.began
        first, read, last = (self._answers(asked) for asked in (self.first, self.read, _ask(engines)))
        parts = dict.fromkeys(PARTS, 0.0)
        for engine, end in last.items():
            begin, middle = first.get(engine, NOTHING), read.get(engine, NOTHING)
            parts["starved"] += _idle(begin, middle) / len(last)
            parts["drained"] += _idle(middle, end) / len(last)
            parts["captions"] += (end["captions"] - begin["captions"]) / len(last)
            parts["questions"] += (end["questions"] - begin["questions"]) / len(last)
        return parts | {"start": max(0.0, wall - sum(parts.values()))}

    def _answers(self, asked: dict[int, Any]) -> dict[int, dict[str, float]]:
        found = {}
        for engine, answer in asked.items():
            with suppress(self.ray.exceptions.RayError):  # it died
                found[engine] = self.ray.get(answer)
        return found


def _ask(engines: Sequence[Any]) -> dict[int, Any]:
    return {id(engine): engine.actor.use.remote() for engine in engines}


def _idle(before: dict[str, float], after: dict[str, float]) -> float:
    return max(0.0, sum((after[name] - before[name]) * (1 if name == "all" else -1) for name in NOTHING))
