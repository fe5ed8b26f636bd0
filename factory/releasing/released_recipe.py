"""The recipe that a release was made with: `factory run hub:org/name@v1.2.0` runs it again."""

from __future__ import annotations

import json
from pathlib import Path

from exports.address import is_hub
from exports.manifest import MANIFEST

RELEASED: str = "recipe.yaml"


def recipe_file(target: str | Path) -> Path:
    """The recipe file that a user means: itself, or that of a release (hub:org/name@v1.2.0, or its directory).

    Raises:
        ReleaseError: no such release, it is not pinned, or it has no recipe.
    """
    if not is_hub(str(target)) and not (Path(target) / MANIFEST).exists():
        return Path(target)
    from exports.consume import released_file
    from exports.hub import prepare_process

    if is_hub(str(target)):
        prepare_process()
    return released_file(target, RELEASED)


def released_limit(recipe: Path) -> int | None:
    """How many rows of the source the release of this recipe was limited to (`--limit`); None for all, or for no release."""
    manifest = recipe.parent / MANIFEST
    if recipe.name != RELEASED or not manifest.exists():
        return None
    try:
        made_from = json.loads(manifest.read_bytes()).get("created_from") or {}
    except (ValueError, AttributeError):
        return None
    limit = made_from.get("limit") if isinstance(made_from, dict) else None
    return limit if isinstance(limit, int) and limit > 0 else None
