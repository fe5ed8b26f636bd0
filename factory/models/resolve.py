"""Which model a recipe means: a Hub id pinned to a commit, a local directory known by its content, or demo:NAME."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.errors import RecipeError
from factory.models.round_model import round_model

WHOLE_FILE_BYTES = 16_000_000
EDGE_BYTES = 1_000_000
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Model:
    """A resolved model or adapter.

    `path` is what the engine loads (a directory or a Hub id), `revision` the commit of a Hub id or the content hash of a
    directory, `identity` what fingerprints are made from.
    """

    name: str
    path: str
    revision: str
    is_local: bool
    is_served: bool = False  # by a server: nothing of it is here

    @property
    def identity(self) -> str:
        """The same for the same weights, wherever a local directory lies."""
        return self.revision if self.is_local else f"{self.path}@{self.revision}"


def resolve_model(name: str, revision: str | None) -> Model:
    """Find a model without loading it.

    Raises:
        RecipeError: no such directory, demo model or Hub repository; or the Hub cannot be reached and has to be.
    """
    if name.startswith("demo:"):
        from factory.demo.checkpoint import checkpoint_path

        try:
            directory = checkpoint_path(name.removeprefix("demo:"))
        except FileNotFoundError as error:
            raise RecipeError([f"model: {name}: {error}"]) from None
        return Model(name, str(directory), content_hash(directory), is_local=True)
    directory = round_model(name) if name.startswith("round:") else Path(name).expanduser()
    if directory.is_dir():
        if not (directory / "config.json").exists() and not (directory / "adapter_config.json").exists():
            raise RecipeError([f"model: {name}: this directory holds no model (no config.json)"])
        return Model(name, str(directory.resolve()), content_hash(directory), is_local=True)
    if not _HUB_ID.fullmatch(name) or name.startswith((".", "/", "~")):
        raise RecipeError([f"model: {name}: no such directory, and not a Hub id (org/name) or demo:small"])
    return Model(name, name, _commit(name, revision), is_local=False)


def served_model(name: str, revision: str) -> Model:
    """A model behind a server. `revision`: what names its weights, or where the server is."""
    return Model(name, name, f"served:{revision}", is_local=False, is_served=True)


def filter_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """A filter's parameters with a `model` of the form demo:NAME replaced by the directory of that shipped checkpoint.

    Filters know directories and Hub ids only; what the factory ships is the factory's to name.

    Raises:
        RecipeError: no such demo model.
    """
    name = params.get("model")
    if not (isinstance(name, str) and name.startswith("demo:")):
        return dict(params)
    return {**params, "model": resolve_model(name, None).path}


def _commit(name: str, revision: str | None) -> str:
    if revision and _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        if not constants.HF_HUB_OFFLINE:
            return str(HfApi().model_info(name, revision=revision, timeout=10).sha)
        problem = "HF_HUB_OFFLINE is set"
    except RevisionNotFoundError:
        raise RecipeError([f"model: {name}: no revision '{revision}' on the Hub"]) from None
    except RepositoryNotFoundError:
        raise RecipeError(
            [f"model: {name}: no such directory, and no such model on the Hub (or it needs HF_TOKEN)"]
        ) from None
    except Exception as error:  # whatever the HTTP library of this huggingface_hub raises
        problem = f"the Hub cannot be reached ({type(error).__name__})"
    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    if isinstance(cached, str):
        return Path(cached).parent.name
    raise RecipeError(
        [f"model: {name}: not in the local cache, and {problem}; give a local directory, or go online once"]
    )


def content_hash(directory: Path) -> str:
    """16 hex digits for the content of a model directory: names, sizes and bytes.

    Files above WHOLE_FILE_BYTES count by their first and last EDGE_BYTES: hashing 100 GB at every start would take
    minutes. Limitation: a change in the middle of a large file that keeps its size is not seen.
    """
    digest = hashlib.sha256()
    for file in sorted(path for path in directory.rglob("*") if path.is_file()):
        relative = file.relative_to(directory).as_posix()
        if any(part.startswith(".") for part in relative.split("/")) or file.name == "README.md":
            continue
        size = file.stat().st_size
        digest.update(f"{relative}\0{size}\0".encode())
        with file.open("rb") as handle:
            if size <= WHOLE_FILE_BYTES:
                digest.update(handle.read())
            else:
                digest.update(handle.read(EDGE_BYTES))
                handle.seek(-EDGE_BYTES, 2)
                digest.update(handle.read())
    return digest.hexdigest()[:16]
