"""The errors a user can act on. The command line prints their text alone; anything else is a bug and says so."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final


class FactoryError(Exception):
    """What was wrong, where, and what to do. `exit_code` is what the command ends with."""

    exit_code = 1


class RecipeError(FactoryError, ValueError):
    """One or more problems of a recipe, each with its file and line."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class SourceError(FactoryError):
    """The source cannot be read: missing, empty, of another layout, or gone half-way."""


class RunError(FactoryError):
    """The run directory cannot be used: locked, of another recipe, read-only, full, or damaged."""


class EngineError(FactoryError):
    """The engine cannot work at all; carries the engine's own message."""


class MissingExtra(FactoryError):
    """A package is needed that an extra of this one brings; the message says which."""


class TrainingError(FactoryError):
    """A training cannot start, broke, or left no checkpoint that can be used."""


EXTRAS: Final = {
    "ray": "cpu",
    "vllm": "cpu",
    "torch": "cpu",
    "transformers": "cpu",
    "openai": "cpu",
    "datasets": "datasets",
    "scipy": "calibrate",
    "accelerate": "train",
    "peft": "train",
    "trl": "train",
    "onnxruntime": "ocr",
    "rapidocr": "ocr",
    "s3fs": "s3",
    "gcsfs": "gcs",
    "pillow_heif": "heic",
}
"""Module -> the extra of this package that brings it; `gpu` brings what `cpu` does."""


def missing_extra(module: str | None) -> str | None:
    """What to install where a module is not there; None for a module that no extra brings."""
    name = (module or "").partition(".")[0]
    if name not in EXTRAS:
        return None
    extra = EXTRAS[name]
    other = ", or 'caption-factory[gpu]' on a machine with a GPU" if extra == "cpu" else ""
    return f"this needs the package '{name}', which is not installed: pip install 'caption-factory[{extra}]'{other}"


def advice_of(error: BaseException | None) -> str | None:
    """What to install where an error, or one that it came from, is of a missing module that an extra brings; else None."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and (advice := missing_extra(error.name)) is not None:
            return advice
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def extras_named() -> Iterator[None]:
    """Where a module is missing that an extra brings, MissingExtra says which, instead of ModuleNotFoundError."""
    try:
        yield
    except ImportError as error:
        advice = advice_of(error)
        if advice is None:
            raise
        raise MissingExtra(advice) from error


_FULL: Final = re.compile(r"\(os error (28|122)\)|No space left on device|Disk quota exceeded|OutOfDiskError")


def is_disk_full(error: BaseException) -> bool:
    """Whether a disk was full, whoever noticed: Python, Polars and Arrow (which say it in words), Ray where it spills."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if not isinstance(current, FactoryError) and _FULL.search(f"{type(current).__name__}: {current}"):
            return True
        current = getattr(current, "cause", None) or current.__cause__ or current.__context__
    return False


def disk_full(where: str | None = None) -> str:
    """What to tell a user about a full disk."""
    return (
        f"no space left on the disk of {where or 'the run, the release or the temporary files'}; make room and run again: what "
        "is finished is kept"
    )
