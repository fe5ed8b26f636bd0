"""What was published from here: `published.jsonl` beside the versions, one line an event, only ever added to.

It is a record, not a source of truth: what was published is read from the Hub each time.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from exports.release import ReleaseError

JOURNAL = "published.jsonl"


def record(home: Path, event: str, **facts: Any) -> None:
    """Add one event with its time. A line is whole or absent, also when two processes write.

    Raises:
        ReleaseError: the directory cannot be written.
    """
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = json.dumps({"time": when, "event": event, **facts}, sort_keys=True) + "\n"
    try:
        handle = os.open(home / JOURNAL, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(handle).st_size
            cut = size > 0 and os.pread(handle, 1, size - 1) != b"\n"  # a full disk took the end of the last line
            os.write(handle, (("\n" if cut else "") + line).encode())
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise ReleaseError(f"{home / JOURNAL} cannot be written ({error.strerror}); make room or give access") from None


def read_journal(home: Path) -> list[dict[str, Any]]:
    """All events, oldest first. A line that a full disk cut off is left out."""
    try:
        lines = (home / JOURNAL).read_text().splitlines()
    except FileNotFoundError:
        return []
    events = []
    for line in lines:
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events
