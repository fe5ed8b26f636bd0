"""How many requests are in an engine at once: more while its answers come quickly, fewer when they are slow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

START: Final = 128
GROWTH: Final = 4
LEAST: Final = 4
QUICK: Final = 1 / 8
SLOW: Final = 1 / 2
"""Shares of a request's time-out. An engine holds what it is given, so a request's time is the engine's pace times the
requests before it: given too many, a slow engine lets all of them time out."""


class RequestWindow:
    """Lets a changing number of requests through, in the order in which they came.

    Much as TCP's slow start (RFC 5681, section 3.1): GROWTH requests more for each answer within QUICK of its time-out,
    so that the window grows by that factor while all are quick; one less for each beyond SLOW.
    """

    def __init__(self, most: int) -> None:
        """`most`: requests at once, at least 1, however quick the engine is; may be set anew at any time."""
        self.most = most
        self.size = min(START, most)
        self.open = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def request(self, timeout_s: float, ahead: bool = False) -> AsyncIterator[None]:
        """Wait for a place, then time the request that is made inside.

        Args:
            timeout_s: the request's own time-out, seconds.
            ahead: do not wait.
        """
        if not ahead and (self.open >= self.size or self._waiting):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn  # whoever makes room has counted us in
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.open -= 1
                    self._let_in()
                raise
        else:
            self.open += 1
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            yield
        finally:
            self.open -= 1
            self._resize(loop.time() - started, timeout_s)
            self._let_in()

    def _resize(self, seconds: float, timeout_s: float) -> None:
        if seconds <= timeout_s * QUICK:
            self.size += GROWTH
        elif seconds > timeout_s * SLOW:
            self.size = max(LEAST, self.size - 1)
        self.size = min(self.most, self.size)

    def _let_in(self) -> None:
        while self._waiting and self.open < self.size:
            turn = self._waiting.popleft()
            if not turn.done():
                self.open += 1
                turn.set_result(None)
