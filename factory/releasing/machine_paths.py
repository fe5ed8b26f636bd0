"""Paths of the machine that made a release do not go public: they are cut to their last part."""

from __future__ import annotations

import posixpath
import re
from typing import Any, Final

import yaml

ABSOLUTE: Final = re.compile(r"\A(?:file://)?(?:/|~|[A-Za-z]:[\\/]|\\\\)")
PATH_KEYS: Final = frozenset({"path", "to", "model", "lora", "judge", "file", "plugins"})
EXPERTS: Final = "experts"
"""Below this every text may be a path: parameters of a user's own experts."""
NOTE: Final = "# Paths of the machine that made this are cut to their last part; give yours: --set source.path=...\n"


def last_part(path: str) -> str:
    """An absolute path of a disk as its last part; everything else as it is (relative paths, URLs, names on the Hub)."""
    if not ABSOLUTE.match(path):
        return path
    return posixpath.basename(path.replace("\\", "/").rstrip("/")) or "."


def public_recipe(recipe: str) -> str:
    """A recipe's YAML without absolute paths, with a line that says so where there were any."""
    content = yaml.safe_load(recipe)
    public = _public(content, "")
    if public == content:
        return recipe
    return NOTE + str(yaml.safe_dump(public, sort_keys=False, allow_unicode=True, width=120))


def _public(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return {name: _public(part, EXPERTS if key == EXPERTS else str(name)) for name, part in value.items()}
    if isinstance(value, list):
        return [_public(part, key) for part in value]
    return last_part(value) if isinstance(value, str) and key in (*PATH_KEYS, EXPERTS) else value
