"""Rules over scores: every caption is kept, or dropped with the first rule that said no. Needs no engine.

Order: state, require, keep_top, dedup, best_of, budget. Works on narrow columns only (keys, states, scores, a hash of the
text); memory is about 200 bytes a caption.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl

from factory.fingerprint import selection_fingerprint
from factory.plan import Plan
from factory.run import SELECTION
from factory.tables import CAPTION_KEY
from factory.tables import SELECTION as SCHEMA

SELECTION_STATE = "selection.json"


def select(plan: Plan) -> dict[str, Any]:
    """Decide on every caption of the recipe and write selection.parquet. Returns counts by verdict.

    A decision that stands (same rules, captions and scores) is not made again.
    """
    run = plan.run
    scorers = {scorer.name: scorer for scorer in plan.scorers}
    prints = [f"{scorer.name}:{scorer.fingerprint}" for scorer in plan.scorers]
    state = {
        "fingerprint": selection_fingerprint(plan.recipe, plan.caption_prints, prints),
        "parts": run.parts("captions"),
        "limit": plan.limit,
    }
    before = run.read_json(SELECTION_STATE)
    if before and {name: before.get(name) for name in state} == state and run.storage.exists(SELECTION):
        return dict(before["counts"])
    rows = _candidates(plan)
    for name in plan.recipe.select.require | plan.recipe.select.keep_top | _named(plan.recipe.select.best_of):
        rows = _with_score(plan, rows, name, scorers[name].fingerprint)
    decided = decide(rows.collect(), plan.recipe.select.model_dump(), plan.recipe.seed)
    run.storage.write_parquet(SELECTION, decided)
    counts = _counts(decided)
    run.write_json(SELECTION_STATE, {**state, "counts": counts})
    return counts


def decide(rows: pl.DataFrame, rules: dict[str, Any], seed: int) -> pl.DataFrame:
    """Apply the rules of a recipe's `select` to one frame.

    Args:
        rows: image_key, shard, view, candidate, fingerprint, status, reason (of a failure), text_hash, created_ms, and a
            column per filter that a rule names.
        rules: the fields of `recipe.Select`.
        seed: draws the images of a budget.

    Returns:
        tables.SELECTION, ordered by image key, view and candidate; independent of the order of `rows`.
    """
    rows = rows.sort(*CAPTION_KEY, "created_ms", "shard").with_columns(verdict=pl.lit(None, dtype=pl.String))

    def drop(condition: pl.Expr, reason: pl.Expr | str) -> None:
        nonlocal rows
        why = pl.lit(reason) if isinstance(reason, str) else reason
        standing = pl.col("verdict").is_null() & condition
        rows = rows.with_columns(verdict=pl.when(standing).then(why).otherwise(pl.col("verdict")))

    drop(pl.int_range(pl.len()).over(CAPTION_KEY) > 0, "duplicate_key")
    drop(pl.col("status") == "failed", pl.concat_str(pl.lit("failed:"), pl.col("reason").fill_null("unknown")))
    drop(~pl.col("status").is_in(rules["accept"]), pl.col("status"))
    for name, least in rules["require"].items():
        if name not in rules["keep_unscored"]:
            drop(pl.col(name).is_null() | pl.col(name).is_nan(), f"unscored:{name}")
        drop(pl.col(name) < least, f"require:{name}")
    for name, share in rules["keep_top"].items():
        drop(pl.col(name).is_null() | pl.col(name).is_nan(), f"unscored:{name}")
        standing = pl.col("verdict").is_null()
        rank = pl.when(standing).then(pl.col(name)).rank("ordinal", descending=True).over("view")
        drop(rank > (standing.sum().over("view") * share).ceil(), f"keep_top:{name}")
    if rules["best_of"]:
        best = _best_first(rows, rules["best_of"])
        drop(best.over(["image_key", "view"]) > 1, f"best_of:{rules['best_of']}")
    if "exact" in rules["dedup"]:
        drop(_order_among_standing().over("text_hash", "view") > 1, "dedup:exact")
    if rules["budget"]:
        images = rows.filter(pl.col("verdict").is_null()).select("image_key").unique()
        drawn = images.sort(pl.col("image_key").hash(seed), "image_key").head(rules["budget"])["image_key"]
        drop(~pl.col("image_key").is_in(drawn.implode()), "budget")
    return rows.select(
        "image_key",
        "shard",
        "view",
        pl.col("candidate").cast(SCHEMA["candidate"]),
        "fingerprint",
        pl.col("verdict").is_null().alias("kept"),
        pl.col("verdict").alias("reason"),
    )


def _best_first(rows: pl.DataFrame, name: str) -> pl.Expr:
    """Rank of the standing candidates by score, best first; unscored ones last, then by candidate number."""
    assert name in rows.columns
    standing = pl.when(pl.col("verdict").is_null())
    return standing.then(pl.col(name).fill_null(-1.0).fill_nan(-1.0)).rank("ordinal", descending=True)


def _order_among_standing() -> pl.Expr:
    return pl.col("verdict").is_null().cast(pl.Int64).cum_sum() * pl.col("verdict").is_null()


def _named(name: str | None) -> dict[str, float]:
    return {name: 0.0} if name else {}


def _candidates(plan: Plan) -> pl.LazyFrame:
    rows = plan.run.captions(plan.caption_prints)
    text = pl.col("text").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    columns = ["shard", *CAPTION_KEY, "fingerprint", "status", "reason", "created_ms"]
    return rows.select(*columns, text.hash(5).alias("text_hash"))


def _with_score(plan: Plan, rows: pl.LazyFrame, name: str, fp: str) -> pl.LazyFrame:
    keys = ["image_key", "view", "candidate", "caption_fingerprint"]
    scores = plan.run.scores(name, fp).select(*keys, pl.col("score").alias(name))
    return rows.join(scores, left_on=[*CAPTION_KEY, "fingerprint"], right_on=keys, how="left")


def _counts(decided: pl.DataFrame) -> dict[str, Any]:
    reasons = Counter(decided.filter(~pl.col("kept"))["reason"].to_list())
    kept = decided.filter(pl.col("kept"))
    return {
        "captions": decided.height,
        "kept": kept.height,
        "kept_images": kept["image_key"].n_unique(),
        "dropped": dict(reasons.most_common()),
    }
