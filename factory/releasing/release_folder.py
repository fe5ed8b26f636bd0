"""Where the release of a run is."""

from __future__ import annotations

import json
from pathlib import Path

from factory.errors import RunError


def release_folder(target: str) -> Path:
    """The directory that a user means by a run or a release: of a run, the directory that holds its versions.

    Raises:
        RunError: the run has no release.
    """
    from factory.runs.run import METRICS, RECIPE_LOCK

    folder = Path(target)
    if not (folder / RECIPE_LOCK).exists():
        return folder
    try:
        released = json.loads((folder / METRICS).read_text())["release"]
    except (OSError, ValueError, KeyError):
        released = None
    if not released:
        raise RunError(f"{target} has no release; set release.to in its recipe and run it again")
    url = Path(released["url"])
    if not url.is_dir():
        raise RunError(f"{target} released {url}, which is not here; run the command where it is")
    return url
