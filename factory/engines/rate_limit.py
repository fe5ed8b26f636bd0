"""Limits on requests and tokens a minute, kept by waiting: evenly, with no bursts."""

from __future__ import annotations

import asyncio
from typing import Final

MINUTE: Final = 60.0


class RateLimit:
    """Gives each request its moment: not before what came before it has used up its share of the minute."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        """None: no limit."""
        self._requests = requests_per_minute
        self._tokens = tokens_per_minute
        self._next = 0.0  # when, by the loop's clock, the next may go

    async def wait(self, tokens: int) -> None:
        """Wait until a request may go that will take about so many tokens."""
        now = asyncio.get_running_loop().time()
        start = max(now, self._next)
        self._next = start + max(MINUTE / self._requests if self._requests else 0.0, self._seconds(tokens))
        if start > now:
            await asyncio.sleep(start - now)

    def correct(self, expected: int, taken: int) -> None:
        """It took other tokens than were expected: those after it wait longer, or less long."""
        self._next += self._seconds(taken - expected)

    def _seconds(self, tokens: int) -> float:
        return MINUTE * tokens / self._tokens if self._tokens else 0.0
