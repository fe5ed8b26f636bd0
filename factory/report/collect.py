"""Gather what a report shows from a run's tables; memory is bounded by the gallery, not by the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from factory.errors import RunError
from factory.images.reasons import REASONS, Reason
from factory.judging.judge_report import judge_metrics, judge_rows, judge_warnings
from factory.outcome import LEFT_OUT, Outcome, outcome_metrics
from factory.report.calibration_plot import calibration_plot
from factory.report.data import CaptionCard, Doubt, Fact, Histogram, ImageCard, Rejected, ReportData
from factory.runs import tables
from factory.runs.run import METRICS, RECIPE, REPORT, SELECTION, Run
from factory.runs.tables import CAPTION_KEY
from factory.work.scorer import Scorer
from factory.work.work import Work, reopen
from filters.asking.claims import Claims
from filters.asking.questions import VlmFilter
from filters.asking.vqa_faithfulness import VqaFaithfulness

if TYPE_CHECKING:
    from filters.calibration.calibration import Calibration

BINS = 20
DOUBTFUL = 0.5
GALLERY_CARDS = 60
SAMPLED_PER_REASON = 12
VARIETY_CAPTIONS = 50_000
VARIETY = {
    "words_p5": "words, 5 %",
    "words_p50": "50 %",
    "words_p95": "95 %",
    "distinct_1": "distinct words",
    "distinct_2": "pairs",
    "exact_duplicates": "said before",
    "compression_ratio": "compression",
    "names": "names",
    "opener_share": "commonest opener",
    "opener": "which is",
}
QUARANTINE_ROWS = 200


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


def render(data: ReportData) -> bytes:
    """The page as UTF-8."""
    from factory.report.page import render_report

    return render_report(data).encode("utf-8", errors="replace")


def collect(work: Work, metrics: dict[str, Any]) -> ReportData:
    """Everything on the page."""
    decided = work.run.storage.scan([SELECTION])
    gallery = _gallery(work)
    states = {name: number for name, number in metrics["images"].items() if name != "source_rows"}
    return ReportData(
        title=work.recipe.name,
        facts=_facts(work, metrics),
        images=tuple((name, number) for name, number in states.items() if number),
        views=tuple(_views(work, decided)),
        reasons=tuple(metrics["selection"].get("dropped", {}).items()),
        histograms=tuple(_histograms(work, work.calibrations)),
        gallery=tuple(gallery),
        quarantine=tuple(_quarantine(work)),
        quarantine_reasons=tuple(_quarantine_reasons(work)),
        truth=_truth_facts(metrics.get("truth")),
        recipe=work.run.storage.read(RECIPE).decode(),
        notes=tuple(_notes(metrics)),
        variety=tuple(_variety(work, metrics)),
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
        facts.append(Fact("tokens this time", f"{now['output_tokens']:,}"))
    facts.append(Fact("seconds this time", f"{now['seconds'].get('total', 0):,.0f}"))
    if work.views:
        facts.append(Fact("models", ", ".join(sorted({ready.view.model for ready in work.views}))))
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
    models = {ready.name: ready.view.model for ready in work.views}
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


def _variety(work: Work, metrics: dict[str, Any]) -> list[dict[str, str]]:
    """How varied the captions are, all of them and those kept, each by a sample of the same size."""
    from filters.sets.diversity import diversity

    kept = int(metrics["selection"].get("kept", 0))
    total = int(metrics["selection"].get("captions", 0))
    size = min(VARIETY_CAPTIONS, kept)
    if not size:
        return []
    keys = ["shard", *CAPTION_KEY]
    identity = pl.concat_str(keys, separator="\x1f").hash(29).alias("identity")
    decided = work.run.storage.scan([SELECTION]).select(identity, "kept")
    texts = work.captions().select(identity, "text")
    drawn = pl.col("identity") / 2.0**64
    chosen = {
        "all captions": decided.filter(drawn < size / total),
        "kept": decided.filter("kept", drawn < size / kept),
    }
    table = []
    for name, rows in chosen.items():
        sample = rows.collect(engine="streaming")["identity"]
        found = diversity(
            [texts.filter(pl.col("identity").is_in(sample.implode())).select("text").collect(engine="streaming")]
        )
        shown = {column: found[column] for column in VARIETY}
        table.append({"captions": name} | {VARIETY[column]: _shown(value) for column, value in shown.items()})
    return table


def _shown(value: float | int | str | None) -> str:
    if value is None:
        return ""
    return (
        f"{value:.3f}"
        if isinstance(value, float) and value < 10
        else f"{value:,.0f}"
        if not isinstance(value, str)
        else value
    )


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


def _gallery(work: Work) -> list[ImageCard]:
    """A sample with kept and dropped captions of every reason as even as they come."""
    pictures = (
        work.run.scan("gallery", tables.GALLERY)
        .unique("image_key", keep="any")
        .select("image_key", "thumbnail")
        .collect()
    )
    keys = pictures["image_key"] if pictures.height else _sampled_keys(work)
    shown = pl.col("image_key").is_in(keys.implode())
    decided = work.run.storage.scan([SELECTION]).filter(shown).collect(engine="streaming")
    captions = work.captions().filter(shown).drop("reason").collect(engine="streaming")
    frame = decided.join(captions, on=["shard", *CAPTION_KEY, "fingerprint"], how="inner")
    for scorer in work.scorers:
        scored = work.run.scores(scorer.name, scorer.fingerprint).filter(shown)
        wanted = [name for name in ("sentences", "claims") if name in scorer.filter.evidence]
        beside = [pl.col(name).alias(f"{name}_{scorer.name}") for name in wanted] if _is_doubting(work, scorer) else []
        if "sentences" not in scored.collect_schema():
            beside = []
        scores = scored.select(
            *CAPTION_KEY, "caption_fingerprint", pl.col("score").alias(f"score_{scorer.name}"), *beside
        )
        frame = frame.join(
            scores.collect(engine="streaming"),
            left_on=[*CAPTION_KEY, "fingerprint"],
            right_on=[*CAPTION_KEY, "caption_fingerprint"],
            how="left",
        )
    frame = frame.sort(*CAPTION_KEY)
    thumbnails = dict(pictures.iter_rows())
    cards = [
        ImageCard(
            str(key),
            thumbnails.get(str(key), b""),
            None,
            tuple(_caption_card(work, row) for row in group.iter_rows(named=True)),
        )
        for (key,), group in frame.group_by("image_key", maintain_order=True)
    ]
    return _even(cards)


def _sampled_keys(work: Work) -> pl.Series:
    """Keys of captions without images: the same few for the same captions, of every reason as many."""
    drawn = (pl.col("image_key").hash(17) / 2.0**64).alias("drawn")
    rows = work.run.storage.scan([SELECTION]).select(pl.col("reason").fill_null(""), "image_key", drawn)
    counts = dict(rows.group_by("reason").len().collect(engine="streaming").iter_rows())
    # Sorting all of a reason would take memory for every caption: a share of which a few times as many is expected.
    shares = {reason: min(1.0, 8 * SAMPLED_PER_REASON / count) for reason, count in counts.items()}
    near = [(pl.col("reason") == reason) & (pl.col("drawn") <= share) for reason, share in shares.items()]
    some = rows.filter(pl.any_horizontal(False, *near))
    few = some.collect(engine="streaming").sort("drawn").group_by("reason").head(SAMPLED_PER_REASON)
    return few["image_key"].unique()


def _even(cards: list[ImageCard]) -> list[ImageCard]:
    """At most GALLERY_CARDS cards; those whose verdict is rare among the chosen come first."""
    shown: Counter[str] = Counter()
    waiting = list(cards)
    chosen: list[ImageCard] = []
    while waiting and len(chosen) < GALLERY_CARDS:
        card = min(waiting, key=lambda one: shown[_verdict(one)])
        waiting.remove(card)
        chosen.append(card)
        shown[_verdict(card)] += 1
    return sorted(chosen, key=lambda one: one.key)


def _verdict(card: ImageCard) -> str:
    return next((one.reason or one.status for one in card.captions if not one.kept), "kept")


def _caption_card(work: Work, row: dict[str, Any]) -> CaptionCard:
    return CaptionCard(
        view=row["view"],
        candidate=row["candidate"],
        text=row["text"] or row["detail"] or "",
        status=row["status"],
        kept=row["kept"],
        reason=row["reason"],
        prompt=row["prompt"] or "",
        scores=tuple((scorer.name, row[f"score_{scorer.name}"]) for scorer in work.scorers),
        doubts=_doubts(work, row),
        lineage=_lineage(row),
    )


def _lineage(row: dict[str, Any]) -> str:
    again = f", try {row['rung'] + 1}" if row["rung"] else ""
    return f"{again}, cut from #{row['cut_from']}" if row["cut_from"] is not None else again


def _is_doubting(work: Work, scorer: Scorer) -> bool:
    """Whether a filter's verdict on single sentences is shown: of judges, and where the recipe has a threshold for it."""
    return scorer.filter.judges_sentences and (
        isinstance(scorer.filter, VqaFaithfulness | Claims)
        or isinstance(work.recipe.select.require.get(scorer.name), float)
    )


def _repairs_below(work: Work, scorer: Scorer) -> float | None:
    repair = work.recipe.repair
    return repair.least if repair is not None and repair.by == scorer.name else None


def _doubts(work: Work, row: dict[str, Any]) -> tuple[Doubt, ...]:
    """The sentences that score below the recipe's threshold, or below one half where it has none, each by its worst filter."""
    worst: dict[tuple[int, int], Doubt] = {}
    for scorer in work.scorers:
        least = work.recipe.select.require.get(scorer.name, _repairs_below(work, scorer))
        below = least if isinstance(least, float) else DOUBTFUL
        for one in row.get(f"sentences_{scorer.name}") or ():
            place = one["start"], one["end"]
            if one["score"] is None or one["score"] >= below or (place in worst and worst[place].score <= one["score"]):
                continue
            sentence = (row["text"] or "")[place[0] : place[1]]
            claims = _claims_of(row.get(f"claims_{scorer.name}") or [], place)
            asked = scorer.filter.asked_of(sentence, claims) if isinstance(scorer.filter, VlmFilter) else None
            worst[place] = Doubt(*place, scorer.name, one["score"], asked)
    return tuple(worst[place] for place in sorted(worst))


def _claims_of(claims: list[dict[str, Any]], place: tuple[int, int]) -> list[dict[str, Any]]:
    """The claims of a sentence, and for those that were skipped the ones that failed them."""
    found = [claim for claim in claims if (claim["start"], claim["end"]) == place]
    for claim in found:  # grows as it goes
        if claim["state"] == "skipped":
            found += [claims[parent] for parent in claim["parents"] if claims[parent] not in found]
    return found


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
        .sort("len", descending=True)
        .collect()
    )
    return [(reason, number) for reason, number in rows.iter_rows()]


def _notes(metrics: dict[str, Any]) -> list[str]:
    notes = [*metrics["selection"].get("warnings", []), *judge_warnings(metrics.get("judges", []))]
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


def demo_truth(work: Work) -> dict[str, Any] | None:
    """Sentences of the captions that are true, before and after selection; only the demo world knows."""
    from factory.recipe import DemoSource

    if not isinstance(work.recipe.source, DemoSource):
        return None
    from factory.demo.truth import sentence_accuracy

    decided = work.run.storage.scan([SELECTION])
    columns = ["shard", *CAPTION_KEY, "text", "rung", "cut_from"]
    texts = work.captions().select(columns).drop_nulls("text")
    joined = decided.join(texts, on=["shard", *CAPTION_KEY], how="inner").collect()
    first = joined.filter(pl.col("rung").is_null(), pl.col("cut_from").is_null())
    pairs = {"before": first, "after": joined.filter("kept")}
    result: dict[str, Any] = {}
    for name, frame in pairs.items():
        correct, total = sentence_accuracy(frame.select("text", "image_key").iter_rows(), work.recipe.source.seed)
        result[name] = {"correct": correct, "sentences": total, "captions": frame.height}
    return result


def _truth_facts(truth: dict[str, Any] | None) -> tuple[Fact, ...]:
    if not truth:
        return ()
    return tuple(
        Fact(f"correct sentences {name} selection", f"{share(part):.1%} ({part['correct']:,} of {part['sentences']:,})")
        for name, part in truth.items()
    )


def share(part: dict[str, int]) -> float:
    """Correct sentences over all, 0 where there are none."""
    return part["correct"] / part["sentences"] if part["sentences"] else 0.0
