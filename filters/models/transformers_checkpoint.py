"""A checkpoint of the transformers library for a filter: a directory, or a Hub id at a pinned commit; never code from it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filters.contract.filter import FilterError

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a filter's parameters `model` and `revision` name; `asked_by` begins its errors."""

    asked_by: str
    model: str
    revision: str | None

    def identity(self) -> str:
        """For a directory the sha256 of its weights and settings, for a Hub id `id@commit`. Raises FilterError."""
        self.check()
        folder = Path(self.model)
        return _content(str(folder), _newest(folder)) if folder.is_dir() else f"{self.model}@{self.revision}"

    def check(self) -> None:
        """Raises FilterError where the directory holds no checkpoint, or a Hub id is not pinned."""
        folder = Path(self.model)
        if folder.is_dir():
            if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
                raise FilterError(
                    f"{self.asked_by}: {self.model!r} holds no checkpoint: a config.json and weights as .safetensors are needed."
                )
            if self.revision is not None:
                raise FilterError(
                    f"{self.asked_by}.revision: {self.model!r} is a directory and has none; leave it out."
                )
        elif self.model.count("/") != 1 or self.model.startswith((".", "/", "~")):
            raise FilterError(f"{self.asked_by}: {self.model!r} is no directory, and no Hub id (owner/name).")
        elif self.revision is None or not _COMMIT.fullmatch(self.revision):
            raise FilterError(
                f"{self.asked_by}.revision: {self.model!r} is on the Hub: pin it with the 40 hex digits of a commit, so that "
                f"scores stay what they are (given: {self.revision!r})."
            )

    def options(self) -> dict[str, Any]:
        """What every `from_pretrained` gets: no code from the checkpoint runs, whatever it says."""
        return {"trust_remote_code": False} | ({"revision": self.revision} if self.revision else {})

    @contextmanager
    def loading(self, what: str) -> Iterator[None]:
        """Turns what goes wrong while loading into a FilterError: `what` it should have been."""
        self.check()
        try:
            yield
        except ImportError as error:
            raise FilterError(
                f"{self.asked_by} needs torch and transformers ({error}): `pip install caption-factory[cpu]` or [gpu]."
            ) from error
        except FilterError:
            raise
        except Exception as error:  # what a broken or foreign checkpoint raises is no fixed list
            raise FilterError(f"{self.asked_by}: {self.model!r} cannot be loaded as {what}: {error}") from error


def device_of(asked_by: str, device: str) -> str:
    """The device itself for "auto": "cuda" where there is one, else "cpu". Raises FilterError for one that is not there."""
    import torch

    there = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if there else "cpu"
    if device.startswith("cuda") and not there:
        raise FilterError(f"{asked_by}.device: {device!r} is not there (torch sees no CUDA device); use auto or cpu.")
    return device


_KNOWN: dict[tuple[str, int], str] = {}


def _newest(folder: Path) -> int:
    return max((file.stat().st_mtime_ns for file in folder.iterdir()), default=0)


def _content(folder: str, newest: int) -> str:
    """Of the weights and settings, in one digest; kept while no file of the directory changes."""
    if (folder, newest) not in _KNOWN:
        digest = hashlib.sha256()
        for file in sorted(path for path in Path(folder).iterdir() if path.suffix in (".safetensors", ".json")):
            digest.update(file.name.encode() + b"\0")
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        _KNOWN[folder, newest] = digest.hexdigest()
    return _KNOWN[folder, newest]
