"""The cards of a report: a sample of images with kept and dropped captions of every reason, and the sentences in doubt."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import polars as pl

from factory.report.data import CaptionCard, Doubt, ImageCard
from factory.report.truth import wrong_sentences
from factory.runs import tables
from factory.runs.run import SELECTION
from factory.runs.tables import CAPTION_KEY, EDIT_CANDIDATES
from factory.work.fusions import fusion_lineage
from factory.work.scorer import Scorer
from factory.work.work import Work
from filters.asking.claims import Claims
from filters.asking.questions import VlmFilter
from filters.asking.vqa_faithfulness import VqaFaithfulness

DOUBTFUL: Final = 0.5
GALLERY_CARDS: Final = 60
SAMPLED_PER_REASON: Final = 12


def gallery(work: Work) -> list[ImageCard]:
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
        wrong=wrong_sentences(work, row["image_key"], row["text"] or ""),
        lineage=_lineage(row),
    )


def _lineage(row: dict[str, Any]) -> str:
    if row["candidate"] >= EDIT_CANDIDATES:
        return f", edited by a person from #{row['cut_from']}"
    fused = fusion_lineage(row)
    if fused:
        return f", {fused}" + (f", cut from #{row['cut_from']}" if row["cut_from"] is not None else "")
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
