"""The recipe that a release was made with: `factory run hub:org/name@v1.2.0` runs it again."""

from __future__ import annotations

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
