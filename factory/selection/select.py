"""Rules over scores: every caption is kept, or dropped with the first rule that said no. Needs no engine.

Order: state, fusions that do not stand, what people decided, require, keep_top, best_of, dedup, budget. Rules about one
image are applied to a bucket of images at a time
(`factory/selection/buckets.py`); rules about all of them need 8 to 16 bytes a caption: a score and a hash of its key.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from factory.runs.by_people import DECISION_TABLE, last_decisions
from factory.runs.run import SELECTION, Run
from factory.runs.tables import CAPTION_KEY, DECISIONS, EDIT_CANDIDATES, FALLBACK_CANDIDATE
from factory.runs.tables import SELECTION as SCHEMA
from factory.selection.buckets import Buckets, fill_buckets
from factory.work.calibrations import calibration_warnings, captioner_of, resolved_rules
from factory.work.fingerprint import selection_fingerprint
from factory.work.fusions import fusion_counts
from factory.work.work import Work
from filters.calibration.score_sketch import ScoreSketch, bin_of
from filters.wording.length_bucket import LENGTH_BUCKET

SELECTION_STATE = "selection.json"
DECISION = "decision"
"""The column of what people decided, where it counts."""
REVIEWED = "reviewed"
_DECIDED_ON = ["shard", *CAPTION_KEY, "fingerprint"]
_DRAW_SEED = 4711  # of the hash that decides between equal scores


def select(work: Work) -> dict[str, Any]:
    """Decide on every caption of the recipe and write selection.parquet. Returns counts by verdict.

    A decision that stands (same rules, calibrations, captions and scores) is not made again. `warnings` of the counts says
    in words which calibrations come from other captions.
    """
    run = work.run
    scorers = {scorer.name: scorer.fingerprint for scorer in work.scorers}
    calibrations = {reference: work.calibrations[reference] for reference in work.recipe.select.calibrations}
    state = decided_from(work)
    before = run.read_json(SELECTION_STATE)
    if before and {name: before.get(name) for name in state} == state and run.storage.exists(SELECTION):
        return dict(before["counts"])
    read = [name for calibration in calibrations.values() for name in calibration.reads]
    wanted = {name: scorers[name] for name in dict.fromkeys([*work.recipe.select.filters, *read])}
    rules = resolved_rules(work.recipe.select, calibrations)
    tally = _Tally()
    beside = run.storage.full() if run.storage.is_local else None
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=beside) as scratch:
        buckets = fill_buckets(work, wanted, calibrations, Path(scratch))
        if work.recipe.select.reviewed:
            decisions = last_decisions(run).select(*_DECIDED_ON, DECISION)
            buckets.change(lambda rows: rows.join(decisions, on=_DECIDED_ON, how="left", maintain_order="left"))
        decided = tally.counting(_decided(buckets, rules, work.recipe.seed))
        run.storage.write_frames(SELECTION, decided, SCHEMA)
    counts = tally.counts()
    if work.fusions:
        counts["fusions"] = fusion_counts(work)
    if work.recipe.select.reviewed:
        counts["reviewed"] = _reviewed(run)
    if calibrations:
        counts["calibrations"] = state["calibrations"]
        counts["warnings"] = calibration_warnings(calibrations, captioner_of(work.recipe, work.views))
    run.write_json(SELECTION_STATE, {**state, "counts": counts})
    return counts


def decided_from(work: Work) -> dict[str, Any]:
    """What a selection depends on, as selection.json keeps it: one that was decided from the same stands."""
    fingerprints = [f"{scorer.name}:{scorer.fingerprint}" for scorer in work.scorers]
    rules = work.recipe.select
    return {
        "fingerprint": selection_fingerprint(work.recipe, work.caption_fingerprints, fingerprints),
        "parts": work.run.parts("captions"),
        "limit": work.limit,
        "present": work.present.id if work.present is not None else None,
        "calibrations": {reference: work.calibrations[reference].id for reference in rules.calibrations},
        "decisions": _decisions_sign(work.run) if rules.reviewed else None,
    }


def _decisions_sign(run: Run) -> list[Any]:
    """Changes with every decision."""
    rows = run.scan(DECISION_TABLE, DECISIONS)
    return list(rows.select(pl.len(), pl.col("created_ms").max()).collect().row(0))


def _reviewed(run: Run) -> dict[str, int]:
    """Captions that people accepted and that are kept, those of them that they edited, and those that they rejected."""
    decisions = last_decisions(run).lazy()
    rows = run.storage.scan([SELECTION]).join(decisions, on=_DECIDED_ON, how="inner").collect(engine="streaming")
    kept = rows.filter("kept", _accepted())
    edited = kept.filter(pl.col("candidate") >= EDIT_CANDIDATES)
    return {
        "accepted": kept.height,
        "edited": edited.height,
        "rejected": rows.filter(pl.col("reason") == f"{REVIEWED}:rejected").height,
    }


def decide(rows: pl.DataFrame, rules: dict[str, Any], seed: int) -> pl.DataFrame:
    """Apply the rules of a recipe's `select` to one frame, which stays in memory.

    Args:
        rows: image_key, shard, view, candidate, fingerprint, status, reason (of a failure), text_hash, created_ms, perhaps unfused, a column
            per score that a rule names, LENGTH_BUCKET where a `keep_top` goes by length, and `decision` (accepted, rejected or
            null) where people's decisions count.
        rules: the fields of `recipe.Select`, thresholds of calibrations put in (`calibrations.resolved_rules`).
        seed: draws the images of a budget.

    Returns:
        tables.SELECTION, ordered by image key, view and candidate; independent of the order of `rows`.
    """
    return pl.concat(_decided(Buckets.of(rows), rules, seed))


def _decided(buckets: Buckets, rules: dict[str, Any], seed: int) -> Iterator[pl.DataFrame]:
    """tables.SELECTION, a bucket at a time."""
    buckets.change(lambda rows: _by_itself(rows, rules))
    for name, top in rules["keep_top"].items():
        _keep_top(buckets, name, top)
    if rules["best_of"]:
        buckets.change(lambda rows: _best_of(rows, rules["best_of"]))
    if "exact" in rules["dedup"]:
        _drop_copies(buckets)
    if rules["budget"]:
        _keep_to_budget(buckets, rules["budget"], seed)
    for rows in buckets:
        yield rows.select(
            "image_key",
            "shard",
            "view",
            pl.col("candidate").cast(SCHEMA["candidate"]),
            "fingerprint",
            pl.col("verdict").is_null().alias("kept"),
            pl.col("verdict").alias("reason"),
        )


def _drop(rows: pl.DataFrame, condition: pl.Expr, reason: pl.Expr | str) -> pl.DataFrame:
    """The rows with a verdict where the condition holds, nothing was said before, and no person accepted them."""
    why = pl.lit(reason) if isinstance(reason, str) else reason
    standing = pl.col("verdict").is_null() & condition
    if DECISION in rows.columns:
        standing &= ~_accepted()
    return rows.with_columns(verdict=pl.when(standing).then(why).otherwise(pl.col("verdict")))


def _accepted() -> pl.Expr:
    return pl.col(DECISION).eq_missing(pl.lit("accepted"))


def _standing(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("verdict").is_null())


# --- rules about one caption or image -----------------------------------------------------------------------------------


def _by_itself(rows: pl.DataFrame, rules: dict[str, Any]) -> pl.DataFrame:
    rows = rows.sort(*CAPTION_KEY, "created_ms", "shard").with_columns(verdict=pl.lit(None, dtype=pl.String))
    is_repeated = pl.int_range(pl.len()).over(CAPTION_KEY) > 0
    if DECISION in rows.columns:  # a decision is about one of them, and only about a caption that there is
        is_moot = is_repeated | (pl.col("status") == "failed")
        rows = rows.with_columns(pl.when(~is_moot).then(DECISION).alias(DECISION))
    rows = _drop(rows, is_repeated, "duplicate_key")
    failed = pl.concat_str(pl.lit("failed:"), pl.col("reason").fill_null("unknown"))
    rows = _drop(rows, pl.col("status") == "failed", failed)
    if "unfused" in rows.columns:  # the caption that stands for it is a candidate of the same view
        is_fallen = pl.col("unfused").is_not_null() & (pl.col("candidate") != FALLBACK_CANDIDATE)
        rows = _drop(rows, is_fallen, pl.concat_str(pl.lit("fusion:"), pl.col("unfused")))
    if DECISION in rows.columns:
        rows = _drop(rows, pl.col(DECISION) == "rejected", f"{REVIEWED}:rejected")
        rows = _drop(rows, _accepted().any().over("image_key", "view"), f"{REVIEWED}:other_accepted")
        if rules.get("reviewed") == "only":
            rows = _drop(rows, pl.lit(True), f"{REVIEWED}:not_accepted")
    rows = _drop(rows, ~pl.col("status").is_in(rules["accept"]), pl.col("status"))
    for name, least in rules["require"].items():
        if name not in rules["keep_unscored"]:
            rows = _drop(rows, pl.col(name).is_null() | pl.col(name).is_nan(), f"unscored:{name}")
        rows = _drop(rows, pl.col(name) < least, f"require:{name}")
    return rows


def _best_of(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Drop all but the best standing candidate of each image and view; unscored ones come last, then by number."""
    score = pl.when(pl.col("verdict").is_null()).then(pl.col(name).fill_null(-1.0).fill_nan(-1.0))
    rank = score.rank("ordinal", descending=True).over(["image_key", "view"])
    return _drop(rows, rank > 1, f"best_of:{name}")


# --- rules about all captions -------------------------------------------------------------------------------------------


def _keep_top(buckets: Buckets, name: str, top: dict[str, Any]) -> None:
    """Keep exactly ceil(share * rows) of each stratum; a hash of the key decides between equal scores."""
    by = [LENGTH_BUCKET if column == "length" else column for column in top["by"]]
    missing = pl.col(name).is_null() | pl.col(name).is_nan()
    buckets.change(lambda rows: _drop(rows, missing, f"unscored:{name}"))
    sketches = [ScoreSketch.of(_standing(rows), name, by) for rows in buckets]
    cuts = sketches[0].merge(*sketches[1:]).cuts(top["share"]).rename({"bin": "cut"})
    # Only the rows of the one bin in which a stratum's share ends are ranked.
    edges = [_with_cuts(rows, name, cuts, by).filter(pl.col("bin") == pl.col("cut")) for rows in buckets]
    over = by or [pl.lit(0)]
    narrow = pl.concat([edge.select(*by, name, "draw", "wanted", "above") for edge in edges])
    ordered = narrow.sort([name, "draw"], descending=[True, False])
    last = ordered.filter(pl.int_range(pl.len()).over(over) == pl.col("wanted") - pl.col("above") - 1)
    last = last.select(*by, last_score=name, last_draw="draw")

    def apply(rows: pl.DataFrame) -> pl.DataFrame:
        binned = _with_cuts(rows, name, cuts, by)
        binned = _joined(binned, last, by)
        beyond = (pl.col(name) < pl.col("last_score")) | (
            (pl.col(name) == pl.col("last_score")) & (pl.col("draw") > pl.col("last_draw"))
        )
        lost = (pl.col("bin") < pl.col("cut")) | ((pl.col("bin") == pl.col("cut")) & beyond)
        return _drop(rows, pl.col("row").is_in(binned.filter(lost)["row"].implode()), f"keep_top:{name}")

    buckets.change(lambda rows: apply(rows.with_row_index("row")).drop("row"))


def _with_cuts(rows: pl.DataFrame, name: str, cuts: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """The standing rows with their bin, the cut of their stratum, and the draw between equal scores."""
    draw = pl.concat_str(CAPTION_KEY, separator="\x1f").hash(_DRAW_SEED)
    return _joined(_standing(rows).with_columns(bin=bin_of(pl.col(name)), draw=draw), cuts, by)


def _joined(rows: pl.DataFrame, strata: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    if not by:
        return rows.join(strata, how="cross")
    return rows.join(strata, on=by, how="inner", nulls_equal=True)


def _drop_copies(buckets: Buckets) -> None:
    """Of standing captions of a view with the same text, keep the one with the first key."""
    same = pl.col("text_hash") ^ pl.col("view").hash(1)
    hashes = np.sort(np.concatenate([_standing(rows).select(same)["text_hash"].to_numpy() for rows in buckets]))
    repeated = pl.Series(np.unique(hashes[1:][hashes[1:] == hashes[:-1]]), dtype=pl.UInt64)
    is_repeated = same.is_in(repeated.implode())
    copies = pl.concat([_standing(rows).filter(is_repeated).select(*CAPTION_KEY, text=same) for rows in buckets])
    first = copies.sort(CAPTION_KEY).unique("text", keep="first", maintain_order=True).select(CAPTION_KEY)
    is_first = pl.struct(CAPTION_KEY).is_in(first.to_struct("first").implode())
    buckets.change(lambda rows: _drop(rows, is_repeated & ~is_first, "dedup:exact"))


def _keep_to_budget(buckets: Buckets, budget: int, seed: int) -> None:
    """Keep the standing captions of `budget` images, drawn by a hash of their keys."""
    draw = pl.col("image_key").hash(seed)  # of those that a person accepted nothing is dropped
    draws = np.concatenate([_standing(rows).select("image_key").unique().select(draw)["image_key"] for rows in buckets])
    if len(draws) <= budget:
        return
    last = int(np.partition(draws, budget - 1)[budget - 1])
    buckets.change(lambda rows: _drop(rows, draw > last, "budget"))


class _Tally:
    """Counts verdicts while they pass."""

    def __init__(self) -> None:
        self.captions = self.kept = self.images = 0
        self.reasons: Counter[str] = Counter()

    def counting(self, decided: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        for frame in decided:
            kept = frame.filter("kept")
            self.captions += frame.height
            self.kept += kept.height
            self.images += kept["image_key"].n_unique()  # an image is in one bucket
            self.reasons.update(dict(frame.filter(~pl.col("kept")).group_by("reason").len().iter_rows()))
            yield frame

    def counts(self) -> dict[str, Any]:
        ordered = sorted(self.reasons.items(), key=lambda one: (-one[1], one[0]))
        return {"captions": self.captions, "kept": self.kept, "kept_images": self.images, "dropped": dict(ordered)}
