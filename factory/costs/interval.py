"""A number that is not known exactly: from `low` to `high`, most likely `mid`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

Z: Final = 1.96
"""Standard deviations on each side of a normal mean that hold 95 %."""


@dataclass(frozen=True, slots=True)
class Interval:
    """`low` <= `mid` <= `high`. Sums and products take the ends together: what is too low is so in every part."""

    low: float
    mid: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Interval:
        """A known number."""
        return cls(value, value, value)

    @classmethod
    def around(cls, value: float, share: float) -> Interval:
        """Within a share of a number: between value / (1 + share) and value x (1 + share)."""
        return cls(value / (1 + share), value, value * (1 + share))

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.mid + other.mid, self.high + other.high)

    def times(self, factor: Interval | float) -> Interval:
        """The product; both at least 0."""
        by = factor if isinstance(factor, Interval) else Interval.exactly(factor)
        return Interval(self.low * by.low, self.mid * by.mid, self.high * by.high)

    def over(self, other: Interval) -> Interval | None:
        """The quotient; None where the divisor may be 0 and is so most likely. Its end is infinite where it may be 0."""
        if other.mid <= 0:
            return None
        return Interval(
            self.low / other.high, self.mid / other.mid, self.high / other.low if other.low > 0 else math.inf
        )

    def at_least(self, other: Interval) -> Interval:
        """The larger of both."""
        return Interval(max(self.low, other.low), max(self.mid, other.mid), max(self.high, other.high))

    def as_json(self) -> list[float | None]:
        """[low, mid, high]; null for an end without a bound."""
        return [round(one, 6) if math.isfinite(one) else None for one in (self.low, self.mid, self.high)]


def share_of(found: int, of: int) -> Interval:
    """A share by its sample, with its 95 % score interval (Wilson, 1927); all of [0, 1] without a sample."""
    if of <= 0:
        return Interval(0.0, 0.5, 1.0)
    share, weight = found / of, Z * Z / of
    middle = (share + weight / 2) / (1 + weight)
    half = Z / (1 + weight) * math.sqrt(share * (1 - share) / of + weight / (4 * of))
    return Interval(min(share, max(0.0, middle - half)), share, max(share, min(1.0, middle + half)))
