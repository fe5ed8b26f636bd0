"""An expert in a process of its own: what crashes or hangs there costs one image and the seconds of another start.

Messages are a length (8 bytes) and that many bytes. To the process: which expert, as JSON, then images. From it: JSON, once it is
loaded and of each image. It is never given code or objects, and gives none.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Final

from factory.experts.child import HEADER
from factory.experts.contract import Expert, ExpertError

START_SECONDS: Final = 600.0
"""Longest time that an expert may take to load its models."""
MOST_BYTES: Final = 10_000_000
LOG_CHARS: Final = 2000


@dataclass(frozen=True, slots=True)
class Looked:
    """What an expert said of an image. `text` is what goes into prompts, '' where nothing was found; None where it failed, for
    `reason`, a `factory.runs.tables.ExpertFailure`. `findings`: text, confidence in [0, 1] or None, box (left, top, right, bottom
    as shares of width and height) or None.
    """

    text: str | None
    findings: tuple[tuple[str, float | None, tuple[float, ...] | None], ...] = ()
    reason: str | None = None
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class ExpertOrder:
    """Which expert, so that another process can make it: where its class or function is, and its parameters."""

    module: str
    name: str
    settings: Mapping[str, Any]
    timeout_s: float

    @classmethod
    def of(cls, expert: Expert) -> ExpertOrder:
        """The order for such an expert."""
        kind = type(expert)
        return cls(kind.__module__, kind.__qualname__, expert.model_dump(mode="json"), expert.timeout_s)


class ExpertProcess:
    """Looks at images, one after the other. The process starts with the first. A context manager."""

    def __init__(self, name: str, order: ExpertOrder) -> None:
        """`name`: by which the recipe knows it, for errors."""
        self.name = name
        self.order = order
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def __enter__(self) -> ExpertProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def look(self, data: bytes) -> Looked:
        """What it says of the bytes of an image file.

        Raises ExpertError: it cannot be loaded, so it will say nothing of any image.
        """
        process = self._process or self._start()
        began = time.monotonic()
        try:
            said = self._ask(process, data, self.order.timeout_s)
        except TimeoutError:
            self.close()
            return Looked(
                None,
                reason="timeout",
                detail=f"longer than {self.order.timeout_s:g} s",
                seconds=time.monotonic() - began,
            )
        except (EOFError, OSError) as error:
            words = self._last_words(process)
            self.close()
            return Looked(None, reason="crashed", detail=words or str(error), seconds=time.monotonic() - began)
        seconds = time.monotonic() - began
        if said.get("reason"):
            return Looked(None, reason=str(said["reason"]), detail=str(said.get("detail", ""))[:300], seconds=seconds)
        findings = tuple((str(text), sure, tuple(box) if box else None) for text, sure, box in said["findings"])
        return Looked(str(said["text"]), findings, seconds=seconds)

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except OSError:  # what was not yet written goes nowhere
                        continue
            self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def start(self) -> None:
        """Load the expert, if it is not. Raises ExpertError as `look`."""
        if self._process is None:
            self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        process = subprocess.Popen(
            [sys.executable, "-m", "factory.experts.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._process = process
        order = {
            "path": sys.path,
            "module": self.order.module,
            "name": self.order.name,
            "settings": self.order.settings,
        }
        try:
            said = self._ask(process, json.dumps(order).encode(), START_SECONDS)
        except (TimeoutError, EOFError, OSError) as error:
            words = self._last_words(process)
            self.close()
            said_by = (
                f"it took longer than {START_SECONDS:g} s"
                if isinstance(error, TimeoutError)
                else words or "its process ended"
            )
            raise ExpertError(f"experts.{self.name}: cannot be loaded: {said_by}") from None
        if "ready" not in said:
            self.close()
            raise ExpertError(f"experts.{self.name}: cannot be loaded: {said.get('problem', 'it says nothing')}")
        return process

    def _ask(self, process: subprocess.Popen[bytes], data: bytes, seconds: float) -> dict[str, Any]:
        """Raises TimeoutError; EOFError, OSError: the process is gone."""
        assert process.stdin is not None
        ends = time.monotonic() + seconds
        process.stdin.write(HEADER.pack(len(data)) + data)
        process.stdin.flush()
        (size,) = HEADER.unpack(self._read(process, HEADER.size, ends))
        if size > MOST_BYTES:
            raise EOFError(f"an answer of {size:,} bytes")
        content = json.loads(self._read(process, size, ends))
        assert isinstance(content, dict)
        return content

    def _read(self, process: subprocess.Popen[bytes], size: int, ends: float) -> bytes:
        assert process.stdout is not None
        pieces: list[bytes] = []
        while size:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, ends - time.monotonic()))
            if not ready:
                raise TimeoutError
            piece = os.read(process.stdout.fileno(), size)
            if not piece:
                raise EOFError("its process ended")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _last_words(self, process: subprocess.Popen[bytes]) -> str:
        """How it ended, and the last lines that it wrote."""
        try:
            code: int | None = process.wait(5)
        except subprocess.TimeoutExpired:
            code = None
        said = ""
        if self._log is not None:
            self._log.seek(0, os.SEEK_END)
            self._log.seek(max(0, self._log.tell() - LOG_CHARS))
            lines = self._log.read().decode(errors="replace").split("\n")
            said = "; ".join(deque((line.strip() for line in lines if line.strip()), 2))
        ended = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return f"its process ended ({ended}){': ' + said if said else ''}"[:300]
