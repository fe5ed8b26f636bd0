"""`factory export`: what a finished run selected, as a release or as a list of ids."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import polars as pl
from pydantic import ValidationError

from exports.release import ReleaseResult
from exports.storage import Storage
from factory.errors import RunError
from factory.recipe import Release, recipe_yaml
from factory.runs.run import METRICS, RECIPE_LOCK, SELECTION, Run
from factory.runs.writer_lock import RunLock
from factory.work.recipe_of import recipe_of


def export_release(run: Run, to: str, **settings: Any) -> tuple[ReleaseResult, dict[str, int]]:
    """Release the selection of a run: its source is read again for the images.

    Args:
        run: a finished run.
        to: the directory of the versions, local or any fsspec URL.
        settings: other fields of the recipe's `release`; None leaves them as the recipe has them.

    Returns: the release, and how many images are not in it as selected, by reason.

    Raises:
        RunError: the run has not finished. SourceError: its source is gone. ReleaseError: nothing was kept, or the version
            exists with another content.
    """
    from factory.releasing.release import release
    from factory.work.plan import make_plan

    metrics = _finished(run)
    recipe = recipe_of(run)
    given = {name: value for name, value in settings.items() if value is not None}
    base = recipe.release.model_dump() if recipe.release else {}
    try:
        settings_of_release = Release.model_validate(base | given | {"to": to})
    except ValidationError as error:
        raise RunError("\n".join(f"release.{_where(one)}: {one['msg']}" for one in error.errors())) from None
    recipe = recipe.model_copy(update={"release": settings_of_release})
    with RunLock(run):
        limit = (run.read_json(RECIPE_LOCK) or {}).get("limit")
        plan = make_plan(recipe, run, limit, scratch=run.storage.child("source"))
        return release(
            plan.work, plan.pictures, metrics["selection"] | {"images": metrics["images"]}, recipe_yaml(recipe)
        )


def export_uids(run: Run, file: str) -> int:
    """Write the ids of the images with a kept caption as DataComp does: 128-bit numbers, sorted, as a `u8,u8` array (.npy).

    Returns how many. Raises RunError where an id is not 32 hexadecimal digits, as DataComp's `uid` is.
    """
    import numpy as np

    _finished(run)
    pieces = []
    for keys in _kept_keys(run):
        wrong = keys.filter(~keys.str.contains(r"\A[0-9a-fA-F]{32}\z"))
        if len(wrong):
            raise RunError(
                f"{run.url}: the id {wrong[0]!r} is not 32 hexadecimal digits; filter again with --id naming the column of uids"
            )
        pieces.append(np.frombuffer(bytes.fromhex("".join(keys)), dtype=">u8").astype("u8"))
    numbers = np.concatenate(pieces) if pieces else np.zeros(0, dtype="u8")
    uids = np.zeros(len(numbers) // 2, dtype=np.dtype("u8,u8"))
    uids["f0"], uids["f1"] = numbers[::2], numbers[1::2]
    uids = np.unique(uids)
    buffer = io.BytesIO()
    np.save(buffer, uids)
    folder, _, name = file.rpartition("/")
    Storage(folder or ".").write_new(name, buffer.getvalue())
    return len(uids)


def _where(problem: Any) -> str:
    return ".".join(map(str, problem["loc"]))


def _finished(run: Run) -> dict[str, Any]:
    metrics = run.read_json(METRICS)
    if metrics is None or not run.storage.exists(SELECTION):
        raise RunError(f"{run.url}: this run has not finished once; finish it with the command that started it")
    return metrics  # type: ignore[no-any-return]


def _kept_keys(run: Run) -> Iterator[pl.Series]:
    """Image keys of kept captions, a million rows at a time; a key may come again."""
    kept = run.storage.scan([SELECTION]).filter("kept").select("image_key")
    yield from (frame["image_key"] for frame in kept.collect(engine="streaming").iter_slices(1_000_000))
