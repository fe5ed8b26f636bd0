"""What a round's captions were worth before anything was learned of them: tries, shares kept, cost."""

from __future__ import annotations

from math import comb
from typing import Any, Final

import polars as pl

from factory.demo.truth import judge_captions
from factory.evaluation.by_truth import demo_seed
from factory.outcome import Outcome
from factory.runs.run import SELECTION
from factory.runs.tables import CAPTION_KEY
from factory.work.work import Work
from filters.wording.length_bucket import length_bucket

MOST_IMAGES: Final = 20_000
"""Images that `tries` looks at; more change no decimal that is told."""
STEPS_MADE: Final = ("caption", "score", "repair")
"""Steps of a run whose time is a caption's cost; releasing and reporting cost the same whatever is kept."""


def what_was_captioned(outcome: Outcome, judge: str | None, least: float) -> dict[str, Any]:
    """The ledger's record of a captioning run.

    Args:
        judge: the filter that tells a right caption where no truth is known; None where none is audited.
        least: a caption scored at least this is right by it.
    """
    selection = outcome.selection
    seconds = {name: round(value, 1) for name, value in outcome.seconds.items()}
    return {
        "images": outcome.accounts,
        "captions": selection["captions"],
        "kept": selection["kept"],
        "dropped": selection["dropped"],
        "kept_by": kept_by(outcome.work),
        "tries": tries(outcome.work, judge, least),
        "seconds": seconds,
        "seconds_per_kept": seconds_per_kept(outcome),
        "truth": outcome.metrics.get("truth"),
    }


def seconds_per_kept(outcome: Outcome) -> float | None:
    """Seconds of captioning, judging and repair for each caption kept; None where this start of the run made none of them."""
    made = sum(outcome.seconds.get(name, 0.0) for name in STEPS_MADE)
    whole = sum(outcome.made.images.values()) >= outcome.accounts.get("source_rows", 0)
    return round(made / outcome.selection["kept"], 4) if whole and outcome.selection["kept"] else None


def kept_by(work: Work) -> dict[str, dict[str, float]]:
    """Shares in [0, 1] of captions kept, by view and by length: what a selection likes is what the next model sees.

    A rule that takes one of n candidates keeps at most 1/n; compare the strata with each other.
    """
    key = ["shard", *CAPTION_KEY]
    decided = work.run.storage.scan([SELECTION]).select(*key, "kept")
    texts = work.captions().select(*key, length_bucket(pl.col("text")).alias("length"))
    rows = decided.join(texts, on=key, how="left")
    found = {}
    for stratum in ("view", "length"):
        shares = rows.drop_nulls(stratum).group_by(stratum).agg(pl.col("kept").mean()).collect(engine="streaming")
        found[stratum] = {
            name: round(share, 4) for name, share in sorted(shares.iter_rows(), key=lambda one: (len(one[0]), one[0]))
        }
    return found


def tries(work: Work, judge: str | None, least: float) -> dict[str, dict[str, float]]:
    """pass@k of the captioner, by view: the chance in [0, 1] that at least one of k candidates of an image is right.

    A round can only learn what some candidate shows: where pass@k is hardly above pass@1, picking gains nothing
    (Song et al., "Mind the Gap", arXiv 2412.02674). Estimated without bias from all n candidates, `1 - C(n-c, k) / C(n, k)`
    (Chen et al., arXiv 2107.03374, eq. 1), for k = 1, 2, 4, ... and n. Right is: every sentence true where the truth is
    known, else a score of `judge` of at least `least`; empty where there is neither.
    """
    rows = work.captions(work.view_fingerprints).filter(pl.col("status") != "failed")
    if work.recipe.source.kind != "demo" and judge is None:
        return {}
    keys = rows.select("image_key").unique().sort("image_key").head(MOST_IMAGES)
    table = rows.join(keys, on="image_key", how="semi").select(*CAPTION_KEY, "text").collect(engine="streaming")
    if work.recipe.source.kind == "demo":
        verdicts = judge_captions(table["text"].to_list(), table["image_key"].to_list(), demo_seed(work))
        table = table.with_columns(pl.Series("right", [one.correct for one in verdicts], pl.Boolean))
    else:
        scorer = next(one for one in work.scorers if one.name == judge)
        scores = work.run.scores(scorer.name, scorer.fingerprint).select(*CAPTION_KEY, "score").collect()
        scores = scores.unique(CAPTION_KEY, keep="any").drop_nulls()
        table = table.join(scores, on=CAPTION_KEY).with_columns(right=pl.col("score") >= least)
    by_image = table.group_by("view", "image_key").agg(n=pl.len(), c=pl.col("right").sum())
    found: dict[str, dict[str, float]] = {}
    for (view,), images in by_image.group_by("view"):
        most = int(images["n"].max() or 1)  # type: ignore[arg-type]
        whole = images.filter(pl.col("n") == most)
        counts = list(whole.group_by("c").len().iter_rows())
        ks = [k for k in (1, 2, 4, 8, 16, 32) if k < most] + [most]
        found[str(view)] = {
            str(k): round(sum(pass_at(k, most, right) * images for right, images in counts) / whole.height, 4)
            for k in ks
        }
    return dict(sorted(found.items()))


def pass_at(k: int, n: int, right: int) -> float:
    """The chance that k of n candidates, of which `right` are right, hold a right one."""
    return 1.0 - comb(n - right, k) / comb(n, k)
