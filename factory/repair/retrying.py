"""`factory run --retry`: what is done, but not as it should be, is tried once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl

from factory.recipe import Recipe
from factory.runs.run import Run
from factory.work.rungs import add_retries
from factory.work.work import Work
from filters.asking.questions import VlmFilter

Retry = Literal["failed", "truncated", "unfaithful", "unanswered"]
"""What `--retry` takes. Failed rows are tried again by every run."""


def note_retries(recipe: Recipe, run: Run, retry: Sequence[Retry]) -> None:
    """Note in the run which captions are to be written once more, before its work is resolved; `repair` does the rest.

    Raises:
        RunError: the recipe does not say what is unfaithful, or which candidate is kept.
    """
    add_retries(recipe, run, [what for what in retry if what in ("truncated", "unfaithful")])


def forget_unanswered(work: Work) -> None:
    """Remove the scores of parts with questions that got no answer, so that these are asked again."""
    for scorer in work.scorers:
        if not isinstance(scorer.filter, VlmFilter):
            continue
        fingerprints = {judge.fingerprint for judge in scorer.judges.values()}
        for part in work.run.scored(scorer.name, scorer.fingerprint):
            answers = pl.concat([work.run.answers(fingerprint, part) for fingerprint in fingerprints])
            if answers.filter(pl.col("control").is_null(), pl.col("problem").is_not_null()).height:
                work.run.storage.remove(f"scores/{scorer.name}/{part}.{scorer.fingerprint}.parquet")
