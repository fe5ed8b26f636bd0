"""Hostile-safe YAML with line numbers, and `--set` overrides.

PyYAML's composer gives nodes with their lines; they are turned into plain data here, so no tag can build an object.
Bounds: MAX_BYTES of text, MAX_DEPTH of nesting, MAX_NODES of values after aliases are expanded (an alias bomb grows
exponentially from a few lines; a recipe has a few hundred values).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from factory.errors import RecipeError

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_NODES = 50_000

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp")}
_COLLECTIONS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}

KeyPath = tuple[Any, ...]


@dataclass
class RecipeText:
    """Plain data of a YAML file, and where each of its keys stands."""

    file: str
    data: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)
    overrides: dict[KeyPath, str] = field(default_factory=dict)

    def where(self, path: KeyPath) -> str:
        """`file:line` of a key, or of the nearest key above it; `--set ...` for what an override gave."""
        for length in range(len(path), -1, -1):
            prefix = path[:length]
            if prefix in self.overrides:
                return f"--set {self.overrides[prefix]}"
            if prefix in self.lines:
                return f"{self.file}:{self.lines[prefix]}"
        return self.file

    def get(self, path: KeyPath) -> Any:
        """The value at a path, or None."""
        value = self.data
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def read_yaml(path: str | Path) -> RecipeText:
    """Read a YAML file into plain data with line numbers.

    Raises:
        RecipeError: missing file, too large, not UTF-8, not YAML, an object tag, a duplicate key, an alias bomb.
    """
    file = Path(path)
    try:
        if file.is_file() and file.stat().st_size > MAX_BYTES:
            raise RecipeError([f"{file}: larger than {MAX_BYTES:,} bytes; this is no recipe"])
        text = file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        near = sorted(str(other) for other in file.parent.glob("*.yaml"))[:5] if file.parent.is_dir() else []
        hint = f"; recipes there: {', '.join(near)}" if near else ""
        raise RecipeError([f"{file}: no such file{hint}"]) from None
    except UnicodeDecodeError as error:
        raise RecipeError([f"{file}: not UTF-8 text ({error.reason} at byte {error.start})"]) from None
    except OSError as error:
        raise RecipeError([f"{file}: cannot be read: {error.strerror}"]) from None
    return parse_yaml(text, str(file))


def parse_yaml(text: str, file: str) -> RecipeText:
    """YAML text to plain data with line numbers; raises RecipeError as `read_yaml` does."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise RecipeError([f"{file}:{line}: not valid YAML: {error.problem or error.context}"]) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError([f"{file}: not valid YAML: {str(error)[:200] or type(error).__name__}"]) from None
    if node is None:
        raise RecipeError([f"{file}: empty; a recipe needs name, source and views"])
    parsed = RecipeText(file=file, data=None)
    parsed.data = _Reader(parsed).value(node, (), 0)
    if not isinstance(parsed.data, dict):
        raise RecipeError([f"{file}:1: a recipe is a mapping of keys (name: ..., source: ..., views: ...)"])
    return parsed


class _Reader:
    """Turns nodes into data, counting values so that expanded aliases stay bounded."""

    def __init__(self, text: RecipeText) -> None:
        self.text = text
        self.nodes = 0
        self.constructor = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, path: KeyPath, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.fail(node, f"more than {MAX_NODES:,} values once aliases are expanded")
        if depth > MAX_DEPTH:
            self.fail(node, f"nested deeper than {MAX_DEPTH}")
        if node.tag not in _SCALARS | _COLLECTIONS:
            self.fail(node, f"tag {node.tag.replace('tag:yaml.org,2002:', '!!')} is not allowed in a recipe")
        self.text.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, place), depth + 1) for place, child in enumerate(node.value)]
        if node.tag.endswith(":timestamp"):
            return node.value
        try:
            return self.constructor.construct_object(node)
        except (ValueError, OverflowError):
            self.fail(node, f"cannot read '{node.value[:50]}' as {node.tag.rsplit(':', 1)[-1]}; quote it")

    def mapping(self, node: yaml.MappingNode, path: KeyPath, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.fail(key_node, "keys must be plain words")
            key = key_node.value
            if key in result:
                self.fail(key_node, f"key '{key}' stands here twice")
            self.text.lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, (*path, key), depth + 1)
        return result

    def fail(self, node: yaml.Node, message: str) -> None:
        raise RecipeError([f"{self.text.file}:{node.start_mark.line + 1}: {message}"])


def set_value(text: RecipeText, override: str) -> None:
    """Apply one `key.path=value`; a list item is named by its index or by its `name`.

    Filters have names too, however they are written, and a key below one is a parameter: `filters.length.min_words=4`.

    Raises:
        RecipeError: no '=', a path through something that is no mapping, a list item that does not exist.
    """
    dotted, equals, raw = override.partition("=")
    if not equals or not dotted.strip():
        raise RecipeError([f"--set {override}: write --set key.path=value, for example --set seed=3"])
    value = parse_yaml(f"value: {raw}" if raw.strip() else "value:", f"--set {override}").data["value"]
    steps = dotted.strip().split(".")
    target: Any = text.data
    path: list[Any] = []
    while True:
        of_filters = path[-1:] == ["filters"]
        key: Any = _list_place(target, steps[0], override, of_filters) if isinstance(target, list) else steps[0]
        path.append(key)
        if len(steps) == 1:
            break
        if isinstance(target, dict):
            target = target.setdefault(key, {})
        else:
            if of_filters:
                target[key] = _whole_filter(target[key])
            target = target[key]
        if not isinstance(target, (dict, list)):
            taken = dotted.strip().removesuffix(".".join(["", *steps[1:]]))
            raise RecipeError([f"--set {override}: '{taken}' is a value, it has no '{steps[1]}'"])
        if (
            of_filters
            and isinstance(target, dict)
            and isinstance(target.get("params"), dict)
            and steps[1] not in ("name", "params")
        ):
            path.append("params")
            target = target["params"]
        del steps[0]
    if path[-2:-1] == ["filters"] and not steps[0].isdigit() and isinstance(value, (dict, type(None))):
        value = {"name": steps[0], "params": value or {}}
    target[path[-1]] = value
    text.overrides[tuple(path)] = override


def _list_place(items: list[Any], step: str, override: str, of_filters: bool) -> int:
    if step.isdigit() and int(step) < len(items):
        return int(step)
    if of_filters:
        items = [_whole_filter(item) for item in items]
    names = [item.get("name") if isinstance(item, dict) else item if isinstance(item, str) else None for item in items]
    if step in names:
        return names.index(step)
    known = [str(name) for name in names if name]
    near = get_close_matches(step.lower(), known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    shown = ", ".join(known) or (f"0 to {len(items) - 1}" if items else "none")
    raise RecipeError([f"--set {override}: no item '{step}' in this list{hint or f'; there are: {shown}'}"])


def _whole_filter(item: Any) -> Any:
    """A filter with `name` and `params`, whichever way it is written (`repetition`, `length: {min_words: 4}`)."""
    if isinstance(item, str):
        return {"name": item, "params": {}}
    if isinstance(item, dict) and len(item) == 1 and "name" not in item:
        name, params = next(iter(item.items()))
        return {"name": name, "params": {} if params is None else params}
    if isinstance(item, dict):
        return {"params": {}, **item}
    return item
