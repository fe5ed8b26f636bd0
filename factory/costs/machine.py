"""What a measured speed belongs to: the machine, and the version of the engine."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

from factory.work.engine_arguments import engine_version
from factory.work.fingerprint import fingerprint
from factory.work.recipe_lock import gpu_names


@cache
def machine() -> dict[str, Any]:
    """Processor model, cores this process may use, GPUs, and the version of vLLM ("" where there is none)."""
    return {"processor": processor(), "cores": cores(), "gpus": gpu_names(), "engine": engine_version() or ""}


@cache
def machine_id() -> str:
    """The same for the same kind of machine and engine."""
    return fingerprint("machine", machine())


def machine_words() -> str:
    """The machine for people."""
    gpus = machine()["gpus"]
    where = f"{len(gpus)} x {gpus[0]}" if gpus else f"{machine()['cores']} cores of {machine()['processor']}"
    return f"{where}, vLLM {machine()['engine']}" if machine()["engine"] else where


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Its model, as /proc/cpuinfo names it; elsewhere its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
