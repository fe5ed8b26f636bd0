"""`factory run --retry`: what is done, but not as it should be, is tried once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl

from factory.work.plan import Plan
from factory.work.rungs import add_retries, rungs_of
from filters.asking.questions import VlmFilter

Retry = Literal["failed", "truncated", "unfaithful", "unanswered"]
"""What `--retry` takes. Failed rows are tried again by every run."""


def retry_rows(plan: Plan, retry: Sequence[Retry]) -> None:
    """Note in the run, and in the plan, which captions are to be written once more, and forget what was not answered;
    `repair` and scoring do the rest.

    Raises:
        RunError: the recipe does not say what is unfaithful, or which candidate is kept.
    """
    add_retries(plan.recipe, plan.run, [what for what in retry if what in ("truncated", "unfaithful")])
    plan.rungs = rungs_of(plan.recipe, plan.run, plan.views)
    if "unanswered" in retry:
        _forget_unanswered(plan)


def _forget_unanswered(plan: Plan) -> None:
    """Remove the scores of parts with questions that got no answer, so that these are asked again."""
    for scorer in plan.scorers:
        if not isinstance(scorer.filter, VlmFilter):
            continue
        prints = {judge.print for judge in scorer.judges.values()}
        for part in plan.run.scored(scorer.name, scorer.fingerprint):
            answers = pl.concat([plan.run.answers(print_, part) for print_ in prints])
            if answers.filter(pl.col("control").is_null(), pl.col("problem").is_not_null()).height:
                plan.run.storage.remove(f"scores/{scorer.name}/{part}.{scorer.fingerprint}.parquet")
