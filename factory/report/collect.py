"""Gather what a report shows from a run's tables; memory is bounded by the gallery, not by the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from factory.errors import RunError
from factory.images.reasons import REASONS, Reason
from factory.judging.judge_report import judge_metrics, judge_rows, judge_warnings
from factory.outcome import LEFT_OUT, Outcome, outcome_metrics
from factory.report.calibration_plot import calibration_plot
from factory.report.data import Fact, Histogram, Rejected, ReportData
from factory.report.gallery import gallery
from factory.report.truth import demo_truth, truth_facts
from factory.report.variety import variety
from factory.runs.run import METRICS, RECIPE, REPORT, SELECTION, Run
from factory.work.expert_accounts import account_words
from factory.work.fusions import fusion_lines
from factory.work.work import Work, reopen

if TYPE_CHECKING:
    from filters.calibration.calibration import Calibration

BINS = 20
QUARANTINE_ROWS = 200
SPEED = ("part", "what", "share", "seconds", "what to change")
"""Columns in their order, which metrics.json does not keep."""


def write_report(outcome: Outcome) -> tuple[str, dict[str, Any]]:
    """Write metrics.json and report.html of a run. Returns where the report is, and the metrics."""
    work = outcome.work
    truth = demo_truth(work)
    judges = judge_metrics(work)
    metrics = outcome_metrics(outcome) | ({"truth": truth} if truth else {}) | ({"judges": judges} if judges else {})
    work.run.write_json(METRICS, metrics)
    work.run.storage.write(REPORT, render(collect(work, metrics)))
    return work.run.storage.full(REPORT), metrics


def rewrite_report(run: Run) -> str:
    """Draw the report of a run again from its tables. Returns where it is; raises RunError where it never finished."""
    metrics = run.read_json(METRICS)
    if metrics is None:
        raise RunError(
            f"{run.url}: this run has not finished once, so there is nothing to report; `factory status` tells how far it is"
        )
    run.storage.write(REPORT, render(collect(reopen(run), metrics)))
    return run.storage.full(REPORT)


def render(data: ReportData, captions_at: str = "") -> bytes:
    """The page as UTF-8. `captions_at`: address of a gallery of all captions, which bars and reasons then link to."""
    from factory.report.page import render_report

    return render_report(data, captions_at).encode("utf-8", errors="replace")


def collect(work: Work, metrics: dict[str, Any]) -> ReportData:
    """Everything on the page."""
    decided = work.run.storage.scan([SELECTION])
    states = {name: number for name, number in metrics["images"].items() if name != "source_rows"}
    return ReportData(
        title=work.recipe.name,
        facts=_facts(work, metrics),
        images=tuple((name, number) for name, number in states.items() if number),
        views=tuple(_views(work, decided)),
        reasons=tuple(sorted(metrics["selection"].get("dropped", {}).items(), key=lambda one: (-one[1], one[0]))),
        histograms=tuple(_histograms(work, work.calibrations)),
        gallery=tuple(gallery(work)),
        quarantine=tuple(_quarantine(work)),
        quarantine_reasons=tuple(_quarantine_reasons(work)),
        truth=truth_facts(metrics.get("truth")),
        recipe=work.run.storage.read(RECIPE).decode(),
        notes=tuple(_notes(metrics)),
        variety=tuple(variety(work, metrics)),
        speed=tuple(
            {name: row[name] for name in SPEED if name in row}
            for row in (metrics.get("speed_of_light") or {}).get("rows", ())
        ),
        speed_line=(metrics.get("speed_of_light") or {}).get("line", ""),
        judges=tuple(judge_rows(metrics.get("judges", []))),
        calibrations=tuple(calibration_plot(*one) for one in work.calibrations.items()),
    )


def _facts(work: Work, metrics: dict[str, Any]) -> tuple[Fact, ...]:
    now = metrics["this_time"]
    selection = metrics["selection"]
    facts = [
        Fact("source rows", f"{metrics['images'].get('source_rows', 0):,}"),
        Fact("captions", f"{selection.get('captions', 0):,}"),
        Fact("kept", f"{selection.get('kept', 0):,}"),
    ]
    if now["images_per_s"]:
        facts.append(Fact("images/s this time", f"{now['images_per_s']:,}"))
        if now.get("images_per_s_after_start"):
            facts.append(Fact("images/s without the engine's start", f"{now['images_per_s_after_start']:,}"))
        facts.append(Fact("tokens this time", f"{now['output_tokens']:,}"))
    facts.append(Fact("seconds this time", f"{now['seconds'].get('total', 0):,.0f}"))
    if "cost" in metrics:
        facts.append(Fact("cost so far", f"{metrics['cost']:,.4f}"))
    if work.views:
        facts.append(Fact("models", ", ".join(sorted({ready.view.model_name for ready in work.views}))))
    facts += [Fact(f"expert {one['name']}", account_words(one)) for one in metrics.get("experts", ())]
    for view, found in selection.get("fusions", {}).items():
        total = found["fused"] + found["failed"] + sum(found["unfused"].values())
        facts.append(Fact(f"{view}: fused captions that stand", f"{found['fused']:,} of {total:,}"))
    repair = metrics.get("repair")
    if repair:
        mended = sum(rung["mended"] for rung in repair["rungs"])
        if repair["by"] is not None:
            facts.append(Fact("unfaithful at first", f"{repair['unfaithful']:,} of {repair['judged']:,}"))
        facts.append(Fact("mended by another try", f"{mended:,}"))
        if repair["cut"]:
            facts.append(Fact("images with a cut caption", f"{repair['cut']:,}"))
    if metrics["release"]:
        facts.append(Fact("release", f"{metrics['release']['url']} ({metrics['release']['rows']:,} images)"))
    return tuple(facts)


def _views(work: Work, decided: pl.LazyFrame) -> list[dict[str, str]]:
    words = pl.col("text").str.count_matches(r"\S+").mean().alias("words")
    made = work.captions().group_by("view").agg(
        pl.len().alias("captions"), words, pl.col("mean_logprob").mean().alias("logprob"), pl.col("engine").first()
    )  # fmt: skip
    kept = decided.group_by("view").agg(pl.col("kept").sum())
    rows = {
        row["view"]: row
        for row in made.join(kept, on="view", how="left").collect(engine="streaming").iter_rows(named=True)
    }
    models = {ready.name: ready.view.model_name for ready in work.views}
    table = []
    for name in work.view_names:
        row = rows.get(name, {})
        table.append(
            {
                "view": name,
                "model": models.get(name, "the source's own text"),
                "captions": f"{row.get('captions') or 0:,}",
                "kept": f"{row.get('kept') or 0:,}",
                "mean words": f"{row.get('words') or 0:.1f}",
                "mean log-prob": "" if row.get("logprob") is None else f"{row['logprob']:.3f}",
                "engine": row.get("engine") or "",
            }
        )
    return table


def _histograms(work: Work, calibrations: Mapping[str, Calibration]) -> list[Histogram]:
    drawn = []
    for scorer in work.scorers:
        mine = work.run.scores(scorer.name, scorer.fingerprint).filter(
            pl.col("caption_fingerprint").is_in(work.caption_fingerprints)
        )
        place = (pl.col("score") * BINS).floor().clip(0, BINS - 1).cast(pl.Int32)
        counts = dict(mine.group_by(place.alias("bin")).len().collect(engine="streaming").iter_rows())
        summary = (type(scorer.filter).__doc__ or "").strip().splitlines()[0]
        bins = tuple(int(counts.get(number, 0)) for number in range(BINS))
        least = work.recipe.select.require.get(scorer.name)
        threshold = calibrations[least].threshold if isinstance(least, str) else least
        below = None
        if threshold is not None:
            below = int(mine.filter(pl.col("score") < threshold).select(pl.len()).collect(engine="streaming").item())
        drawn.append(Histogram(scorer.name, summary, bins, threshold, int(counts.get(None, 0)), below))
    return drawn


def _quarantine(work: Work) -> list[Rejected]:
    rows = work.run.quarantine(work.quarantine_fingerprints).head(QUARANTINE_ROWS).collect()
    return [
        Rejected(row["image_key"], row["reason"], REASONS.get(Reason(row["reason"]), ""), row["detail"] or "")
        for row in rows.iter_rows(named=True)
    ]


def _quarantine_reasons(work: Work) -> list[tuple[str, int]]:
    rows = (
        work.run.quarantine(work.quarantine_fingerprints)
        .group_by("reason")
        .len()
        .sort(["len", "reason"], descending=[True, False])
        .collect()
    )
    return [(reason, number) for reason, number in rows.iter_rows()]


def _notes(metrics: dict[str, Any]) -> list[str]:
    notes = [*metrics["selection"].get("warnings", []), *judge_warnings(metrics.get("judges", []))]
    notes += [f"{line}." for line in fusion_lines(metrics["selection"].get("fusions", {}))]
    images = metrics["images"]
    if images.get("failed"):
        notes.append(
            f"{images['failed']:,} images failed (engine errors, time-outs, empty answers). Run again to retry them."
        )
    if images.get("pending"):
        notes.append(f"{images['pending']:,} images were not reached. Run again to go on.")
    for reason, number in metrics["left_out"].items():
        notes.append(f"{number:,} {LEFT_OUT[reason]}.")
    if metrics["this_time"]["engine_deaths"]:
        notes.append(f"Engines died {metrics['this_time']['engine_deaths']} times and were replaced.")
    return notes
