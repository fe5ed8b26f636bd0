"""Runs the real `factory` command as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def factory(
    *arguments: str | Path, cwd: Path | None = None, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`factory ARGUMENTS` in a child process; captures both outputs."""
    return subprocess.run(
        [sys.executable, "-m", "factory", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
    )


def succeed(*arguments: str | Path, cwd: Path | None = None, timeout: float = 300, **environment: str) -> str:
    """The stdout of a command that must succeed."""
    done = factory(*arguments, cwd=cwd, timeout=timeout, **environment)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def fail(*arguments: str | Path, cwd: Path | None = None, timeout: float = 300, **environment: str) -> str:
    """The stderr of a command that must fail, with one message and no traceback."""
    done = factory(*arguments, cwd=cwd, timeout=timeout, **environment)
    assert done.returncode not in (0, 70), f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stderr
