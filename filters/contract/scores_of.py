"""Scores as a filter gives them, held to its contract: what a plugin does wrong is told as its fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from filters.contract.filter import Filter, FilterError, SetFilter


def scores_of(filter_: Filter, captions: pl.DataFrame) -> pl.DataFrame:
    """`filter_.score(captions)`: `score` (Float64) and the evidence columns, one row per caption, in order.

    Raises:
        FilterError: a needed column is missing, the scores are not what the contract asks for, or a plugin's code failed.
    """
    with _faults_named(filter_):
        scores = filter_.score(captions)
    return checked(filter_, captions.height, scores)


def set_scores_of(
    filter_: SetFilter, batches: Callable[[], Iterator[pl.DataFrame]], scratch: Path
) -> Iterator[pl.DataFrame]:
    """`filter_.score_set(batches, scratch)`, each frame held to the contract but for its number of rows.

    Raises FilterError as `scores_of`.
    """
    with _faults_named(filter_):
        for scores in filter_.score_set(batches, scratch):
            yield checked(filter_, None, scores)


def checked(filter_: Filter, rows: int | None, scores: object) -> pl.DataFrame:
    """The scores, if they are what the filter promises for so many captions (None: any number). Raises FilterError."""
    who = _who(filter_)
    promised = pl.Schema({"score": pl.Float64(), **filter_.evidence})
    if not isinstance(scores, pl.DataFrame):
        raise FilterError(f"{who} gave a {type(scores).__name__}, not a polars DataFrame; correct its score().")
    if scores.schema != promised:
        raise FilterError(
            f"{who} gave the columns {dict(scores.schema)}, but promises {dict(promised)}; correct its score()."
        )
    if rows is not None and scores.height != rows:
        raise FilterError(f"{who} gave {scores.height} rows for {rows} captions; correct its score().")
    outside = scores["score"].drop_nulls()
    outside = outside.filter(~outside.is_between(0.0, 1.0))
    if outside.len():
        raise FilterError(f"{who} gave scores outside [0, 1], such as {outside[0]:g}; correct its score().")
    return scores


@contextmanager
def _faults_named(filter_: Filter) -> Iterator[None]:
    """What the code of a plugin raises, as a FilterError that says whose code it is."""
    try:
        yield
    except (FilterError, OSError, MemoryError):
        raise
    except Exception as error:
        if not _is_plugin(filter_):
            raise
        raise FilterError(
            f"{_who(filter_)} failed: {type(error).__name__}: {error}. The fault is in its code; --debug shows where."
        ) from error


def _is_plugin(filter_: Filter) -> bool:
    return not type(filter_).__module__.startswith("filters.")


def _who(filter_: Filter) -> str:
    return f"The plugin's filter {filter_.name!r}" if _is_plugin(filter_) else filter_.name
