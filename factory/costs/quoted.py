"""What an execution was expected to take, by a quote or by this machine's past, beside what it took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from factory.costs.cache import remember, remembered
from factory.costs.estimate import estimate
from factory.costs.interval import Interval
from factory.costs.machine import machine_id
from factory.costs.run_costs import RunCosts, cost_key, past_costs, source_key
from factory.runs.clock import now_ms
from factory.work.work import Work

FILE: Final = "quotes"


@dataclass(frozen=True)
class Quoted:
    """Seconds that were expected, and those that it took."""

    seconds: Interval
    actual: float
    by: Literal["quote", "past"]

    @property
    def error(self) -> float:
        """(actual - expected) / actual: below 0 where it was quicker than quoted."""
        return (self.actual - self.seconds.mid) / self.actual if self.actual > 0 else 0.0

    @property
    def line(self) -> str:
        """For a terminal."""
        source = "quoted" if self.by == "quote" else "expected by earlier runs"
        low, mid, high = (f"{one:,.0f}" for one in (self.seconds.low, self.seconds.mid, self.seconds.high))
        inside = "" if self.seconds.low <= self.actual <= self.seconds.high else ", outside of it"
        return f"{mid} s {source} ({low} to {high}); it took {self.actual:,.0f} s ({self.error:+.0%}{inside})"

    def as_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "quoted_s": self.seconds.as_json(),
            "actual_s": round(self.actual, 2),
            "error": round(self.error, 4),
            "by": self.by,
        }


def remember_quote(work: Work, images: int, seconds: Interval) -> None:
    """Keep a quote for this machine, for the run that follows."""
    about = {"key": cost_key(work), "source": source_key(work), "machine": machine_id(), "images": images}
    remember(FILE, about | {"at": now_ms(), "seconds": seconds.as_json()})


def quoted(work: Work, costs: RunCosts) -> Quoted | None:
    """What was expected of an execution that ends now: by the newest quote of it, else by earlier ones; None: nothing was known."""
    for record in reversed(remembered(FILE)):
        about = [record.get(name) for name in ("key", "source", "machine", "images")]
        if about == [costs.key, costs.source, costs.machine, costs.images]:
            seconds = _interval(record.get("seconds"))
            if seconds is not None:
                return Quoted(seconds, costs.seconds["total"], "quote")
    past = past_costs(work)
    return Quoted(estimate(past, costs.images).seconds, costs.seconds["total"], "past") if past else None


def _interval(values: Any) -> Interval | None:
    if not isinstance(values, Sequence) or len(values) != 3 or not all(isinstance(one, int | float) for one in values):
        return None
    low, mid, high = (float(one) for one in values)
    return Interval(low, mid, high) if 0 <= low <= mid <= high and math.isfinite(high) else None
