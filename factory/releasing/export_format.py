"""`factory export RELEASE --format NAME`: a release as a trainer reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from exports.address import is_hub
from factory.releasing.release_folder import release_folder

if TYPE_CHECKING:
    from exports.formats import Exported


def export_format(
    release: str,
    to: str,
    format: str,
    *,
    version: str | None = None,
    view: str | None = None,
    prompts: tuple[str, ...] = (),
    shard_mb: int = 500,
    rejected_by: tuple[str, ...] = (),
    report: Callable[[str], None] | None = None,
) -> Exported:
    """Write a release in a trainer's format.

    Args:
        release: hub:org/name@v1.2.0, the directory of a release, or of a run that has one (its own).
        to: a directory that is not there yet.
        format: one of `exports.formats.FORMATS`.
        version: of a directory that holds several; None means the newest.
        view, prompts, shard_mb, rejected_by: see `exports.formats.Options`.
        report: called with a line of progress.

    Raises:
        ReleaseError, RunError: no such release, or nothing in it fits the format.
    """
    from exports.formats import export
    from exports.hub import prepare_process
    from exports.local_release import find_release

    if is_hub(release):
        prepare_process()
    target = release if is_hub(release) else find_release(release_folder(release), version).folder
    chosen = {"view": view, "prompts": prompts, "shard_mb": shard_mb, "rejected_by": rejected_by}
    return export(target, to, format, report=report, **chosen)
