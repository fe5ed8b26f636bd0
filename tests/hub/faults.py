"""Faults on demand: what goes wrong at which endpoint, and how often."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

STATUSES = {"503": 503, "429": 429, "409": 409, "412": 412, "504": 504, "401": 401, "403": 403}
KINDS = ("503", "503 after", "429", "409", "412", "drop", "drop after")


@dataclass
class Fault:
    """`kind`: a status, or 'drop' (the connection closes without an answer); with ' after' it happens after the request
    took effect, else instead of it. 'call' runs `action` and goes on."""

    endpoint: str
    kind: str
    times: int = 1
    skip: int = 0
    action: Callable[[], None] | None = None
    fired: int = 0

    @property
    def is_after(self) -> bool:
        """Whether the request takes effect first."""
        return self.kind.endswith(" after")

    @property
    def what(self) -> str:
        """The kind without its time."""
        return self.kind.removesuffix(" after")


class Faults:
    """The faults that wait to happen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.waiting: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Let a fault happen at the next matching request."""
        with self._lock:
            self.waiting.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self.waiting.clear()

    def take(self, endpoint: str) -> Fault | None:
        """The fault of this request, if any; it counts as fired."""
        with self._lock:
            for fault in self.waiting:
                if fault.endpoint not in (endpoint, "*") or fault.fired >= fault.times:
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.fired += 1
                return fault
        return None
