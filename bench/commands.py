"""The commands that benchmarks start, with the packages of this checkout and no others of their names."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def python_module(name: str, *arguments: str | Path) -> list[str]:
    """`python -m NAME ARGUMENTS` by this interpreter."""
    return [sys.executable, "-m", name, *map(str, arguments)]


def factory_command(*arguments: str | Path) -> list[str]:
    """`factory ARGUMENTS`."""
    return python_module("factory", *arguments)


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with `changes`, in which Python looks into this checkout first."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **changes}
