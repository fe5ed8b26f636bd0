"""What a round's model is worth on held-out images, and what a judge is worth on the round's own captions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from factory.evaluation.by_truth import demo_seed, with_truth
from factory.recipe import ORIGINAL_IMAGE
from factory.runs.tables import Status
from factory.scoring.sentence_table import sentence_table
from factory.work.plan import Plan
from factory.work.work import Work
from filters.calibration.roc import auroc
from filters.sets.diversity import diversity

Z: Final = 1.959964
"""Two-sided 95 % of the normal distribution."""
MOST_AUDITED: Final = 50_000


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval, clustered by image: an image counts once, as the mean of what it has."""

    mean: float
    low: float
    high: float
    images: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Of one value an image; normal approximation (Student's t is the same above a hundred images)."""
        count = len(values)
        mean = math.fsum(values) / count if count else float("nan")
        if count < 2:
            return cls(mean, -math.inf, math.inf, count)
        error = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1) / count)
        return cls(mean, mean - Z * error, mean + Z * error, count)

    def as_json(self) -> dict[str, float | int | None]:
        """Rounded to four decimals; null for what cannot be said."""
        numbers = {name: getattr(self, name) for name in ("mean", "low", "high")}
        return {name: round(value, 4) if math.isfinite(value) else None for name, value in numbers.items()} | {
            "images": self.images
        }


@dataclass(frozen=True)
class Judged:
    """A model's captions of the held-out images. `images`: image_key, worth (in [0, 1]), text; one row an image. `run`: the directory
    that holds them.
    """

    images: pl.DataFrame
    figures: Mapping[str, Any]
    run: str = ""

    def gain_over(self, other: Judged) -> Interval:
        """The mean difference in worth on the same images."""
        both = self.images.join(other.images, on="image_key", how="inner", suffix="_before")
        return Interval.of((both["worth"] - both["worth_before"]).to_list())

    def changed_from(self, other: Judged) -> float | None:
        """The share of images with another caption."""
        both = self.images.join(other.images, on="image_key", how="inner", suffix="_before")
        return None if both.is_empty() else float((both["text"] != both["text_before"]).mean() or 0.0)  # type: ignore[arg-type]


def judge_model(work: Work, by: str) -> Judged:
    """The worth of a finished run's captions. `by`: 'truth', or a filter of the run.

    Where the truth is known, a caption is worth the share of its sentences that are right; one without any is worth 0.
    """
    rows = work.captions(work.first_fingerprints).select("image_key", "candidate", "status", "text").collect()
    first = rows.sort("image_key", "candidate").unique("image_key", keep="first", maintain_order=True)
    texts = first.with_columns(pl.col("text").fill_null(""))
    figures: dict[str, Any] = {"images": texts.height, "failed": int((texts["status"] == Status.failed).sum())}
    if by == "truth":
        images, more = _by_truth(texts, demo_seed(work))
        figures |= more
    else:
        scorer = next(one for one in work.scorers if one.name == by)
        scores = work.run.scores(by, scorer.fingerprint).filter(pl.col("candidate") == 0).collect()
        scores = scores.select("image_key", worth="score").unique("image_key", keep="any")
        images = texts.join(scores, on="image_key", how="left").with_columns(
            pl.col("worth").fill_nan(None).fill_null(0.0)
        )
    figures["worth"] = Interval.of(images["worth"].to_list()).as_json()
    variety = diversity([texts.select("text").filter(pl.col("text") != "")])
    figures |= {name: variety[name] for name in ("words_mean", "distinct_1", "distinct_2", "exact_duplicates")}
    return Judged(images.select("image_key", "worth", "text"), figures, work.run.storage.full())


def _by_truth(texts: pl.DataFrame, seed: int) -> tuple[pl.DataFrame, dict[str, Any]]:
    from factory.demo.truth import facts_told, judge_captions

    keys, captions = texts["image_key"].to_list(), texts["text"].to_list()
    verdicts = judge_captions(captions, keys, seed)
    told = [facts_told(text, key, seed) for text, key in zip(captions, keys, strict=True)]
    sentences = sum(len(verdict.sentences) for verdict in verdicts)
    errors: list[str] = [kind for verdict in verdicts for one in verdict.sentences for kind in one.errors]
    errors += ["unparsed"] * sum(verdict.unparsed_sentences for verdict in verdicts)
    worth = [verdict.correct_sentences / len(verdict.sentences) if verdict.sentences else 0.0 for verdict in verdicts]
    right = sum(verdict.correct_sentences for verdict in verdicts)
    figures = {
        "sentences": sentences,
        "precision": round(right / sentences, 4) if sentences else None,
        "recall": Interval.of([few / many for few, many in told]).as_json(),
        "wholly_right": Interval.of([float(verdict.correct) for verdict in verdicts]).as_json(),
        "errors": {kind: round(errors.count(kind) / max(1, sentences), 4) for kind in sorted(set(errors))},
    }
    return texts.with_columns(pl.Series("worth", worth, pl.Float64)), figures


# --- the judge ----------------------------------------------------------------------------------------------------------


def audit_judge(work: Work, name: str, least: float) -> dict[str, Any] | None:
    """What a filter's verdicts on this run's sentences are worth, per kind of claim; None where no truth is known.

    Returns: `auroc`; `kinds`: kind -> sentences, right (the share of all), precision (of those scored at least `least`),
    recall (of the right ones, those scored so).
    """
    if work.recipe.source.kind != "demo":
        return None
    from factory.demo.truth import claim_kinds

    table = with_truth(sentence_table(work).head(MOST_AUDITED), demo_seed(work)).drop_nulls(name)
    table = table.with_columns(
        pl.Series("kinds", [list(claim_kinds(text)) for text in table["sentence"]], pl.List(pl.String)),
        passes=pl.col(name) >= least,
    )
    found: dict[str, Any] = {}
    for (kind,), rows in table.explode("kinds").group_by("kinds", maintain_order=True):
        passed, right = rows.filter("passes"), rows.filter("right")
        found[str(kind)] = {
            "sentences": rows.height,
            "right": round(float(rows["right"].mean() or 0.0), 4),  # type: ignore[arg-type]
            "precision": round(float(passed["right"].mean() or 0.0), 4) if passed.height else None,  # type: ignore[arg-type]
            "recall": round(float(right["passes"].mean() or 0.0), 4) if right.height else None,  # type: ignore[arg-type]
        }
    both = table["right"].n_unique() == 2
    area = auroc(table[name].to_numpy(), table["right"].to_numpy(), 0.95)[0] if both else None
    return {"judge": name, "least": least, "auroc": None if area is None else round(float(area), 4), "kinds": found}


# --- held-out images ----------------------------------------------------------------------------------------------------


def image_hashes(plan: Plan) -> Iterator[str]:
    """SHA-256 (hex) of the bytes of every image of a plan's source."""
    import hashlib

    for listed in plan.shards:
        for place, row in enumerate(plan.source.read(listed.shard, ORIGINAL_IMAGE.max_bytes)):
            if listed.take is not None and place >= listed.take:
                break
            if row.data is not None:
                yield hashlib.sha256(row.data).hexdigest()
