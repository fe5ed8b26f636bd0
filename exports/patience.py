"""How long to go on against a Hub that does not answer as it should."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from exports.release import ReleaseError

Result = TypeVar("Result")


class Transient(Exception):
    """It failed now and may succeed later; whether it took effect is not known.

    `wait_s`: what the Hub asks to wait. `connected`: False where nothing answers to the name or at the address.
    """

    def __init__(self, what: str, wait_s: float | None = None, connected: bool = True) -> None:
        super().__init__(what)
        self.wait_s = wait_s
        self.connected = connected


class Unreachable(ReleaseError):
    """The Hub does not answer, or must not be asked; what was tried may be tried again."""


@dataclass
class Patience:
    """Waits between tries: 1, 2, 4, ... seconds, or what the Hub asks for. `tries` are counted anew after a success.

    A Hub that never answered is given up after `tries_unconnected`: a wrong name, or no network, does not mend itself.
    """

    tries: int = 8
    tries_unconnected: int = 3
    first_s: float = 1.0
    longest_s: float = 60.0  # between tries, where the Hub does not say
    most_asked_s: float = (
        900.0  # the Hub's windows for rate limits are five minutes; quotas by the hour are not waited for
    )
    sleep: Callable[[float], None] = lambda seconds: time.sleep(seconds)
    failed: int = field(default=0, init=False)
    answered: bool = field(default=False, init=False)

    def wait(self, error: Transient) -> None:
        """Wait before the next try.

        Raises:
            Unreachable: tried often enough, or the Hub asks for a longer wait than is sensible.
        """
        self.failed += 1
        self.answered = self.answered or error.connected
        if error.wait_s is not None and error.wait_s > self.most_asked_s:
            minutes = round(error.wait_s / 60)
            raise Unreachable(f"{error}; the Hub asks to wait {minutes} minutes: run the same command again then")
        if self.failed >= (self.tries if self.answered else min(self.tries, self.tries_unconnected)):
            raise Unreachable(f"{error}; given up after {self.failed} tries. Run the same command again to go on")
        self.sleep(min(self.longest_s, self.first_s * 2 ** (self.failed - 1)) if error.wait_s is None else error.wait_s)

    def progress(self) -> None:
        """Something succeeded."""
        self.failed = 0
        self.answered = True

    def call(self, function: Callable[[], Result]) -> Result:
        """Call something that may be repeated without harm until it succeeds. Raises Unreachable as `wait` does."""
        while True:
            try:
                result = function()
            except Transient as error:
                self.wait(error)
            else:
                self.answered = True
                return result
