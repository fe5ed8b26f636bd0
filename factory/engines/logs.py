"""Where chatter goes: files of the run, not the user's terminal."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_LINE = 300


def redirect_output(directory: str | None, name: str) -> Path:
    """Send this process's stdout and stderr, and its children's, to a new file. Returns the file.

    Args:
        directory: where to put it; None (the run is not on this disk) means the temporary directory.
        name: what the file is of; time and process id are added.
    """
    folder = Path(directory or tempfile.gettempdir())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}-{int(time.time())}-{os.getpid()}.log"
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:  # another machine of the cluster, without this disk
        file = Path(tempfile.gettempdir()) / f"caption-factory-{name}-{os.getpid()}.log"
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    return file


@contextmanager
def quiet_stderr(directory: str | None, name: str) -> Iterator[None]:
    """While it lasts, what this process and its new children write to stderr goes to a file of the run."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        folder = Path(directory or tempfile.gettempdir())
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(handle, 2)
        os.close(handle)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)


def last_words(file: Path, limit: int = 64_000) -> str:
    """The last line of a log that looks like an error's message, '' if none does."""
    try:
        with file.open("rb") as handle:
            handle.seek(0, 2)
            handle.seek(max(0, handle.tell() - limit))
            lines = handle.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found = [
        line
        for line in lines
        if re.search(r"\b\w*(Error|Exception|Killed|Fault)\b\s*:", line) and "EngineDeadError" not in line
    ]
    if not found:
        return ""
    line = re.sub(r"\x1b\[[0-9;]*m", "", found[-1])
    line = re.sub(r"^.*?(?=\b[\w.]*(Error|Exception)\b\s*:)", "", line)
    return line.strip()[:MAX_LINE]
