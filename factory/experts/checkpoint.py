"""A checkpoint of the transformers library, as filters know it, with errors of experts."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from factory.errors import missing_extra
from factory.experts.contract import ExpertError
from filters.contract.filter import FilterError
from filters.models.transformers_checkpoint import Checkpoint


def checkpoint_models(asked_by: str, model: str, revision: str | None) -> dict[str, str]:
    """`model`: the content of a directory's weights and settings, or the Hub id with its commit.

    Raises ExpertError: it is neither, the Hub id is not pinned, or transformers is not installed.
    """
    for module in ("torch", "transformers"):
        if importlib.util.find_spec(module) is None:
            raise ExpertError(f"the kind {asked_by}: {missing_extra(module)}")
    try:
        return {"model": Checkpoint(asked_by, model, revision).identity()}
    except FilterError as error:
        raise ExpertError(str(error)) from None


@contextmanager
def loading(asked_by: str, model: str, revision: str | None, what: str) -> Iterator[None]:
    """Turns what goes wrong while loading into an ExpertError: `what` it should have been."""
    try:
        with Checkpoint(asked_by, model, revision).loading(what):
            yield
    except FilterError as error:
        raise ExpertError(str(error)) from None
