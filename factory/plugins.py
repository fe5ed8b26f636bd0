"""A filter, source, expert or format of a user's own: from a file, without a package, or from the entry points of a package.

A file is Python code that runs with the rights of the run. It is taken from where the user names it (`--plugin`, `plugins` of a recipe
on this machine), never from a release. Workers import a copy of it that holds these very bytes, so a file that changes while a run
works changes nothing. On a cluster make a package of it and install that on every node.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from inspect import isabstract
from pathlib import Path
from types import ModuleType
from typing import Any, Final, get_args

from pydantic import BaseModel

from factory.errors import FactoryError

SOURCES_GROUP: Final = "caption_factory.sources"
"""The entry point group of sources. An entry point's name is the kind, its value `package.module:Class`."""
BUILT_IN_KINDS: Final = ("folder", "parquet", "webdataset", "huggingface", "captions", "urls", "demo")
MAX_BYTES: Final = 10_000_000
_sources: dict[str, type[Any]] = {}
_brought: dict[str, Loaded] = {}  # by file


class PluginError(FactoryError):
    """A plugin cannot be loaded or used. The message says what to do."""


@dataclass(frozen=True)
class Loaded:
    """What a plugin file brought, by name."""

    file: str
    sha256: str  # of the file
    filters: tuple[str, ...]
    sources: tuple[str, ...]
    formats: tuple[str, ...]
    experts: tuple[str, ...] = ()


def load_plugin(file: str | Path) -> Loaded:
    """Import a file and register what it defines: subclasses of `Filter` and `Expert`, functions under `@expert`, classes with `Settings`,
    `shards` and `read`, `Format`s.

    The same file is loaded once, whoever names it; one that was changed since replaces what it brought before.

    Raises:
        PluginError: no such file, it fails when imported, it defines nothing of the kind, or a name that is taken.
    """
    path = Path(file).expanduser()
    if path.suffix != ".py" or not path.is_file():
        raise PluginError(f"plugin {file}: no such Python file; give the path of a .py file on this machine")
    if path.stat().st_size > MAX_BYTES:
        raise PluginError(f"plugin {file}: larger than {MAX_BYTES:,} bytes; make a package of it")
    return _loaded(str(path.resolve()), path.read_bytes())


def _loaded(file: str, code: bytes) -> Loaded:
    from exports.formats.export import Format, register_format, unregister_format
    from factory.experts.contract import ExpertError, as_kind
    from factory.experts.kinds import register_expert, unregister_expert
    from filters.contract.filter import Filter, FilterError
    from filters.registry import register, unregister

    digest = hashlib.sha256(code).hexdigest()
    if file in _brought and _brought[file].sha256 == digest:
        return _brought[file]
    module = _imported(file, code, digest)
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    kinds = [one for one in own if isinstance(one, type)]
    filters = [one for one in kinds if issubclass(one, Filter) and not isabstract(one)]
    sources = [one for one in kinds if _is_source(one)]
    formats = [one for one in vars(module).values() if isinstance(one, Format) and one.name]
    experts = list(dict.fromkeys(made for value in own if (made := as_kind(value)) is not None))
    if not (filters or sources or formats or experts):
        raise PluginError(
            f"plugin {file}: it defines no filter (a subclass of filters.Filter), no source (a class with Settings, shards and read), "
            "no expert (a subclass of factory.experts.Expert, or a function under @expert) "
            "and no format (an exports.formats.Format with a name); see docs/plugins.md"
        )
    before = _brought.pop(file, None)
    for name in before.filters if before else ():
        unregister(name)
    for name in before.sources if before else ():
        _sources.pop(name, None)
    for name in before.formats if before else ():
        unregister_format(name)
    for name in before.experts if before else ():
        unregister_expert(name)
    try:
        for kind in filters:
            register(kind)
        for kind in sources:
            _register_source(kind)
        for one in formats:
            register_format(one)
        for made in experts:
            register_expert(made)
    except (FilterError, ExpertError, ValueError) as error:
        raise PluginError(f"plugin {file}: {error}") from None
    brought = Loaded(
        file,
        digest,
        tuple(kind.name for kind in filters),
        tuple(_kind(one) for one in sources),
        tuple(one.name or "" for one in formats),
        tuple(made.name for made in experts),
    )
    _brought[file] = brought
    return brought


def _imported(file: str, code: bytes, digest: str) -> ModuleType:
    """The file as a module that child processes find by its name, in a folder that holds nothing else."""
    name = f"caption_factory_plugin_{digest[:16]}"
    folder = _folder()
    (Path(folder) / f"{name}.py").write_bytes(code)
    try:
        return import_module(name)
    except Exception as error:
        sys.modules.pop(name, None)
        raise PluginError(f"plugin {file}: it fails when imported: {type(error).__name__}: {error}") from error


@cache
def _folder() -> str:
    folder = tempfile.mkdtemp(prefix="caption-factory-plugins-")
    owner = os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    sys.path.append(folder)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{before}{os.pathsep}{folder}" if before else folder
    return folder


# --- sources -------------------------------------------------------------------------------------------------------------


def source_kinds() -> dict[str, type[Any]]:
    """Kind -> the class of a source that a plugin brought: of files that were loaded, and of packages that are installed.

    Raises PluginError, naming the package, where one cannot be loaded or takes the name of another.
    """
    found = dict(_sources)
    for point in entry_points(group=SOURCES_GROUP):
        try:
            kind = point.load()
        except Exception as error:
            raise PluginError(
                f"the source plugin {point.name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}; update or "
                "uninstall its package"
            ) from error
        if not (isinstance(kind, type) and _is_source(kind)) or _kind(kind) != point.name:
            raise PluginError(
                f"the source plugin {point.name!r} ({point.value}) is no class with Settings of that kind, shards and read; update or "
                "uninstall its package"
            )
        if point.name in BUILT_IN_KINDS or found.get(point.name, kind) is not kind:
            raise PluginError(
                f"the source plugin {point.name!r} ({point.value}) takes a name that is taken; uninstall its package"
            )
        found[point.name] = kind
    return found


def _is_source(kind: type[Any]) -> bool:
    settings = getattr(kind, "Settings", None)
    is_model = isinstance(settings, type) and issubclass(settings, BaseModel) and "kind" in settings.model_fields
    return is_model and callable(getattr(kind, "shards", None)) and callable(getattr(kind, "read", None))


def _kind(source: type[Any]) -> str:
    values = get_args(source.Settings.model_fields["kind"].annotation)
    return str(values[0]) if len(values) == 1 else ""


def _register_source(source: type[Any]) -> None:
    kind = _kind(source)
    if not kind:
        raise ValueError(f'{source.__name__}.Settings needs kind: Literal["name"] = "name"')
    if kind in BUILT_IN_KINDS or _sources.get(kind, source) is not source:
        raise ValueError(f"there is a source of the kind '{kind}' already; choose another name")
    _sources[kind] = source
