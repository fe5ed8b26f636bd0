"""Which expert a kind means: those of this package, of plugins and packages, and `module:name`."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

from pydantic import ValidationError

import factory.experts
from factory.experts.contract import Expert, ExpertError, as_kind, check_kind

GROUP: Final = "caption_factory.experts"
"""The entry point group. An entry point's name is the kind, its value `package.module:Class` or `package.module:function`."""
_registered: dict[str, type[Expert]] = {}


@cache
def shipped_kinds() -> dict[str, type[Expert]]:
    """Those of this package: each file here with an `EXPERT`."""
    found = {}
    for module in pkgutil.iter_modules(factory.experts.__path__):
        made = getattr(import_module(f"factory.experts.{module.name}"), "EXPERT", None)
        if made is not None:
            found[made.name] = made
    return found


def known_kinds() -> dict[str, type[Expert]]:
    """Kind -> expert, with those of plugin files and installed packages. Raises ExpertError, naming the package that is at fault."""
    found = {**shipped_kinds(), **_registered}
    for point in entry_points(group=GROUP):
        try:
            made = as_kind(point.load())
        except Exception as error:
            raise ExpertError(
                f"the expert plugin {point.name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}; update or "
                "uninstall its package"
            ) from error
        if made is None or made.name != point.name or found.get(point.name, made) is not made:
            raise ExpertError(
                f"the expert plugin {point.name!r} ({point.value}) is no expert of that name, or takes one that is taken; update or "
                "uninstall its package"
            )
        found[point.name] = made
    return found


def register_expert(kind: type[Expert]) -> None:
    """Make an expert known by its name in this process, without a package. Raises ExpertError: unfit, or a name that is taken."""
    check_kind(kind)
    if kind.name in shipped_kinds() or _registered.get(kind.name, kind) is not kind:
        raise ExpertError(f"there is an expert of the kind '{kind.name}' already; choose another name")
    _registered[kind.name] = kind


def unregister_expert(name: str) -> None:
    """Forget what `register_expert` made known."""
    _registered.pop(name, None)


def build_expert(settings: Any) -> Expert:
    """The expert that a recipe's settings mean: `{kind: ..., parameter: ...}`, or an expert made in Python.

    Raises:
        ExpertError: an unknown kind, or parameters that are wrong; with all problems at once.
    """
    if isinstance(settings, Expert):
        return settings
    if not isinstance(settings, Mapping):
        raise ExpertError(f"an expert is written {{kind: rapidocr}}, with its parameters; got {settings!r}")
    kind = settings.get("kind")
    if not isinstance(kind, str) or not kind:
        raise ExpertError(f"'kind' is missing: {', '.join(known_kinds())}, or module:name of an installed package")
    made = _imported(kind) if ":" in kind else known_kinds().get(kind)
    if made is None:
        from difflib import get_close_matches

        known = list(known_kinds())
        near = get_close_matches(kind.lower(), known, n=1)
        said = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
        raise ExpertError(
            f"unknown kind '{kind}'; {said} One of your own: --plugin FILE.py, or module:name (docs/experts.md)"
        )
    try:
        return made.model_validate(dict(settings))
    except ValidationError as error:
        raise ExpertError("; ".join(_problem(item, made) for item in error.errors())) from None


def _imported(kind: str) -> type[Expert]:
    """The expert that `module:name` means. Only what was written as one is taken: a recipe may come from anybody."""
    module, _, name = kind.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), name]):
        raise ExpertError(f"'{kind}' is no module:name, such as my_package.words:read")
    try:
        value = getattr(import_module(module), name)
    except Exception as error:
        raise ExpertError(
            f"'{kind}' cannot be imported: {type(error).__name__}: {error}. Install its package on every machine of the run"
        ) from error
    made = as_kind(value)
    if made is None:
        raise ExpertError(
            f"'{kind}' is no expert: a subclass of factory.experts.Expert, or a function under @factory.experts.contract(version=1)"
        )
    check_kind(made)
    return made


def _problem(item: Any, kind: type[Expert]) -> str:
    from difflib import get_close_matches

    name = ".".join(map(str, item["loc"]))
    if item["type"] == "extra_forbidden":
        near = get_close_matches(str(item["loc"][-1]), list(kind.model_fields), n=1)
        return f"{name}: unknown key" + (
            f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(kind.model_fields)}"
        )
    return f"{name}: {item['msg'].removeprefix('Value error, ')}"
