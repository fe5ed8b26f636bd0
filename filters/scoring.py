"""Scoring a set of captions with several filters at once."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import polars as pl

from filters.contract.filter import Filter, FilterError, SetFilter
from filters.contract.scores_of import checked, scores_of, set_scores_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import datasets

BATCH_ROWS: Final = 8192
"""Rows scored at a time: enough to make the cost of a call vanish, few enough to stay in the processor's caches."""


def score(
    captions: pl.DataFrame | datasets.Dataset | list[str | None], filters: Filter | Sequence[Filter]
) -> pl.DataFrame:
    """The captions' own columns, then for each filter `<name>` (its score) and `<name>.<evidence>`.

    A list becomes the column `text`. Rows keep their number and order. For a set filter they are the whole set; sets that
    do not fit in memory go through its `score_set`. Raises FilterError where a column is missing or
    of another type, a name would be taken twice, or a filter breaks its contract.
    """
    frame = _frame(captions)
    wanted = [filters] if isinstance(filters, Filter) else list(filters)
    _check_names(frame, wanted)
    batches = list(frame.iter_slices(BATCH_ROWS)) or [frame]
    columns = [pl.concat(_scores(filter_, batches)) for filter_ in wanted]
    return pl.concat([frame, *columns], how="horizontal")


def _scores(filter_: Filter, batches: list[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    if not isinstance(filter_, SetFilter):
        yield from (_named(filter_, scores_of(filter_, batch)) for batch in batches)
        return
    with TemporaryDirectory(prefix=f"{filter_.name}-") as scratch:
        scored = set_scores_of(filter_, lambda: iter(batches), Path(scratch))
        for batch, scores in zip(batches, scored, strict=True):
            yield _named(filter_, checked(filter_, batch.height, scores))


def _named(filter_: Filter, scores: pl.DataFrame) -> pl.DataFrame:
    return scores.rename({"score": filter_.name} | {column: f"{filter_.name}.{column}" for column in filter_.evidence})


def _check_names(frame: pl.DataFrame, wanted: list[Filter]) -> None:
    taken = set(frame.columns)
    for filter_ in wanted:
        if not isinstance(filter_, Filter):
            raise FilterError(
                f"{filter_!r} is no filter; pass an instance, such as Repetition(), or filters.build(...)."
            )
        columns = {filter_.name, *(f"{filter_.name}.{column}" for column in filter_.evidence)}
        if columns & taken:
            raise FilterError(
                f"The column {min(columns & taken)!r} is there already: drop it from the captions to score again, and "
                f"give each filter once."
            )
        taken |= columns


def _frame(captions: object) -> pl.DataFrame:
    if isinstance(captions, pl.DataFrame):
        return captions
    if isinstance(captions, list):
        return _from_list(captions)
    datasets = sys.modules.get("datasets")  # whoever passes a Dataset has imported it
    if datasets is not None and isinstance(captions, datasets.Dataset):
        return pl.DataFrame(captions.with_format(None).to_polars())
    raise FilterError(
        f"Captions come as a Polars DataFrame, a datasets.Dataset or a list of strings, not as "
        f"{type(captions).__name__}. Collect a LazyFrame, pick one split of a DatasetDict, and pass other tables "
        f"through polars.from_arrow."
    )


def _from_list(captions: list[object]) -> pl.DataFrame:
    for position, caption in enumerate(captions):
        if not isinstance(caption, str | None):
            raise FilterError(f"Caption {position} is {type(caption).__name__}, not a string: {caption!r:.80}.")
    try:
        return pl.DataFrame({"text": captions}, schema={"text": pl.String})
    except UnicodeEncodeError as error:
        raise FilterError(f"A caption is no valid Unicode ({error}); decode it with errors='replace'.") from error
