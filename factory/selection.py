"""Rules over scores: every caption is kept, or dropped with the first rule that said no. Needs no engine.

Order: state, require, keep_top, dedup, best_of, budget. Works on narrow columns only (keys, states, scores, a hash of the
text); memory is about 200 bytes a caption.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl

from factory.calibrations import calibration_warnings, captioner_of, load_calibrations, resolved_rules
from factory.fingerprint import selection_fingerprint
from factory.plan import Plan
from factory.run import SELECTION
from factory.tables import CAPTION_KEY
from factory.tables import SELECTION as SCHEMA
from filters.length_bucket import LENGTH_BUCKET, length_bucket
from filters.score_sketch import in_best_share

SELECTION_STATE = "selection.json"


def select(plan: Plan) -> dict[str, Any]:
    """Decide on every caption of the recipe and write selection.parquet. Returns counts by verdict.

    A decision that stands (same rules, calibrations, captions and scores) is not made again. `warnings` of the counts says
    in words which calibrations come from other captions.
    """
    run = plan.run
    scorers = {scorer.name: scorer.fingerprint for scorer in plan.scorers}
    calibrations = load_calibrations(run, plan.recipe.select, scorers)
    prints = [f"{scorer.name}:{scorer.fingerprint}" for scorer in plan.scorers]
    state = {
        "fingerprint": selection_fingerprint(plan.recipe, plan.caption_prints, prints),
        "parts": run.parts("captions"),
        "limit": plan.limit,
        "calibrations": {reference: calibration.id for reference, calibration in calibrations.items()},
    }
    before = run.read_json(SELECTION_STATE)
    if before and {name: before.get(name) for name in state} == state and run.storage.exists(SELECTION):
        return dict(before["counts"])
    rows = _candidates(plan)
    read = [name for calibration in calibrations.values() for name in calibration.reads]
    for name in dict.fromkeys([*plan.recipe.select.filters, *read]):
        rows = _with_score(plan, rows, name, scorers[name])
    rows = rows.with_columns(calibration.score().alias(name) for name, calibration in calibrations.items())
    decided = decide(rows.collect(), resolved_rules(plan.recipe.select, calibrations), plan.recipe.seed)
    run.storage.write_parquet(SELECTION, decided)
    counts = _counts(decided)
    if calibrations:
        counts["calibrations"] = state["calibrations"]
        counts["warnings"] = calibration_warnings(calibrations, captioner_of(plan.views))
    run.write_json(SELECTION_STATE, {**state, "counts": counts})
    return counts


def decide(rows: pl.DataFrame, rules: dict[str, Any], seed: int) -> pl.DataFrame:
    """Apply the rules of a recipe's `select` to one frame.

    Args:
        rows: image_key, shard, view, candidate, fingerprint, status, reason (of a failure), text_hash, created_ms, a column
            per score that a rule names, and LENGTH_BUCKET where a `keep_top` goes by length.
        rules: the fields of `recipe.Select`, thresholds of calibrations put in (`calibrations.resolved_rules`).
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
        drop(pl.col(name).is_null() | pl.col(name).is_nan(), f"unscored:{name}")
        drop(pl.col(name) < least, f"require:{name}")
    for name, top in rules["keep_top"].items():
        drop(pl.col(name).is_null() | pl.col(name).is_nan(), f"unscored:{name}")
        by = [LENGTH_BUCKET if column == "length" else column for column in top["by"]]
        best_share = in_best_share(rows, name, top["share"], by, pl.col("verdict").is_null())
        drop(~pl.lit(best_share), f"keep_top:{name}")
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


def _candidates(plan: Plan) -> pl.LazyFrame:
    rows = plan.run.captions(plan.caption_prints)
    text = pl.col("text").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    columns = ["shard", *CAPTION_KEY, "fingerprint", "status", "reason", "created_ms"]
    by_length = any("length" in top.by for top in plan.recipe.select.keep_top.values())
    length = [length_bucket(pl.col("text")).alias(LENGTH_BUCKET)] if by_length else []
    return rows.select(*columns, text.hash(5).alias("text_hash"), *length)


def _with_score(plan: Plan, rows: pl.LazyFrame, name: str, fp: str) -> pl.LazyFrame:
    keys = ["image_key", "view", "candidate", "caption_fingerprint"]
    scores = plan.run.scores(name, fp).select(*keys, pl.col("score").alias(name)).unique(keys, keep="any")
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
