"""What `factory filters` fingerprints: one line a filter, or a filter's page from its docstring and parameters."""

from __future__ import annotations

import inspect
import json
from typing import Any

import filters
from factory.errors import FactoryError
from factory.recipe import did_you_mean


def filter_list(as_json: bool) -> str:
    """Name and summary of every registered filter."""
    known = {name: _doc(cls).splitlines()[0] for name, cls in sorted(filters.registered().items())}
    if as_json:
        return json.dumps(known)
    width = max(map(len, known))
    return "\n".join(f"{name:<{width}}  {line}" for name, line in known.items())


def filter_page(name: str, as_json: bool) -> str:
    """Docstring and parameters of one filter. Raises FactoryError for an unknown one."""
    known = filters.registered()
    if name not in known:
        raise FactoryError(f"no filter '{name}'{did_you_mean(name, sorted(known), every=True)}")
    cls = known[name]
    schema = cls.model_json_schema()
    if as_json:
        return json.dumps({"name": name, "version": cls.version, "doc": _doc(cls), "parameters": schema})
    lines = [f"{name} (version {cls.version})", "", _doc(cls), "", "parameters:"]
    for field, info in cls.model_fields.items():
        lines.append(f"  {field}: {_default(info)}  {info.description or ''}".rstrip())
    if not cls.model_fields:
        lines.append("  none")
    lines += [
        "",
        f"reads: {', '.join([*cls.needs, *cls.uses])}",
        f"evidence columns: {', '.join(cls.evidence) or 'none'}",
    ]
    return "\n".join(lines)


def _doc(cls: type[Any]) -> str:
    return inspect.cleandoc(cls.__doc__ or "")


def _default(info: Any) -> str:
    return "required" if info.is_required() else json.dumps(info.get_default(call_default_factory=True), default=str)
