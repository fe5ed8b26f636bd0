"""`factory run --retry`: what is done, but not as it should be, is tried once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl

from factory.plan import Plan, check_owner
from factory.recipe import Recipe
from factory.run import Run
from factory.rungs import add_retries
from filters.questions import VlmFilter

Retry = Literal["failed", "truncated", "unfaithful", "unanswered"]
"""What `--retry` takes. Failed rows are tried again by every run."""


def retry_rows(recipe: Recipe, run: Run, retry: Sequence[Retry]) -> None:
    """Note in the run which captions are to be written once more; `repair` does it.

    Raises:
        RunError: the directory is another recipe's, or the recipe does not say what is unfaithful.
    """
    check_owner(run, recipe)
    add_retries(recipe, run, [what for what in dict.fromkeys(retry) if what in ("truncated", "unfaithful")])


def forget_unanswered(plan: Plan) -> int:
    """Remove the scores of parts with questions that got no answer, so that these are asked again. Returns parts."""
    removed = 0
    for scorer in plan.scorers:
        if not isinstance(scorer.filter, VlmFilter):
            continue
        prints = {judge.print for judge in scorer.judges.values()}
        for part in plan.run.scored(scorer.name, scorer.fingerprint):
            answers = pl.concat([plan.run.answers(print_, part) for print_ in prints])
            if answers.filter(pl.col("control").is_null(), pl.col("problem").is_not_null()).height:
                plan.run.storage.remove(f"scores/{scorer.name}/{part}.{scorer.fingerprint}.parquet")
                removed += 1
    return removed
