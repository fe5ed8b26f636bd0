"""Tells a web address how a long command ended, where the user named one: `--notify URL`, or FACTORY_WEBHOOK."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from exports.foreign_text import plain
from factory.errors import FactoryError

VARIABLE: Final = "FACTORY_WEBHOOK"
TIMEOUT_S: Final = 10.0
MAX_CHARACTERS: Final = 4_000


class Notice:
    """A context around a long command: at its end one POST of JSON says whether it finished or failed.

    `result`: the lines that say what came out, set before the end. That the address does not answer is a line on stderr; it
    changes nothing of the command. The address may hold a secret, so it is neither printed nor stored.
    """

    def __init__(self, command: str, where: str, address: str | None = None) -> None:
        """`where` is the directory of the result. Raises FactoryError for an address that is no http(s) URL."""
        self.command = command
        self.where = where
        self.address = address or os.environ.get(VARIABLE) or None
        self.result: list[str] = []
        if self.address is not None and (
            urlsplit(self.address).scheme not in ("http", "https") or not urlsplit(self.address).hostname
        ):
            raise FactoryError(
                f"the address to notify is not http:// or https:// with a host; set --notify or {VARIABLE} to one"
            )

    def __enter__(self) -> Notice:
        self._started = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.address is None:
            return
        event = "finished" if error is None else "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
        said = "\n".join(self.result) if error is None else f"{type(error).__name__}: {error}"
        seconds = round(time.monotonic() - self._started, 1)
        text = f"factory {self.command} {event} after {seconds:,.0f} s: {self.where}\n{said}"[:MAX_CHARACTERS]
        body = {"event": event, "command": self.command, "where": self.where, "seconds": seconds, "text": plain(text)}
        self._post(json.dumps(body).encode())

    def _post(self, body: bytes) -> None:
        request = urllib.request.Request(
            self.address or "", data=body, method="POST", headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):
                pass
        except (OSError, ValueError) as error:  # refused, no answer, an error status
            problem = getattr(error, "reason", None) or type(error).__name__
            print(plain(f"the address to notify did not take the notice: {problem}"), file=sys.stderr, flush=True)
