"""`factory evaluate`: what a run's captions, filters and selection are worth, where the truth is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factory.errors import RunError
from factory.recipe import DemoSource
from factory.scoring.sentence_table import sentence_table
from factory.work.work import Work

if TYPE_CHECKING:
    from factory.demo.truth import CaptionVerdict

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 400
COVERAGES: Final = (0.95, 0.9, 0.75, 0.5, 0.25)


@dataclass(frozen=True)
class Share:
    """A share in [0, 1] with its interval at CONFIDENCE; images are drawn anew, since their sentences are not independent."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    def as_json(self) -> dict[str, float]:
        """Rounded to four decimals."""
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


@dataclass
class Evaluation:
    """Of sentences: `precision` (the share that is right) of all captions and of those kept, `recall` (the share of the
    right sentences that selection keeps), `errors` (the share with each type of error, before and after), and of each
    filter the `auroc` and the precision of the best-scored part.
    """

    sentences: int
    captions: int
    precision: dict[str, Share]
    recall: float | None
    errors: dict[str, dict[str, float]]
    auroc: dict[str, Share] = field(default_factory=dict)
    judged: dict[str, float] = field(default_factory=dict)
    coverage: dict[str, dict[float, float]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "sentences": self.sentences,
            "captions": self.captions,
            "precision": {name: share.as_json() for name, share in self.precision.items()},
            "recall": self.recall,
            "errors": self.errors,
            "auroc": {name: share.as_json() for name, share in self.auroc.items()},
            "judged": self.judged,
            "precision_at_coverage": {
                name: {str(share): round(value, 4) for share, value in some.items()}
                for name, some in self.coverage.items()
            },
        }

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = [
            f"{self.sentences:,} sentences of {self.captions:,} captions",
            *(f"right {name} selection: {share}" for name, share in self.precision.items()),
        ]
        if self.recall is not None:
            lines.append(f"of the right sentences selection keeps {self.recall:.3f}")
        for name, rates in self.errors.items():
            lines.append(f"errors {name}: " + ", ".join(f"{kind} {rate:.1%}" for kind, rate in rates.items()))
        if self.auroc:
            head = " ".join(f"{share:>6.0%}" for share in COVERAGES)
            lines.append(f"{'filter':20} {'AUROC (95 %)':24} judged  precision of the best {head}")
        for name, share in self.auroc.items():
            values = " ".join(f"{value:6.3f}" for value in self.coverage[name].values())
            lines.append(f"{name:20} {share!s:24} {self.judged[name]:6.1%} {'':22} {values}")
        return lines


def evaluate(work: Work) -> Evaluation:
    """Compare a run over the demo world with its truth.

    Raises:
        RunError: the source is not the demo world.
    """
    return evaluate_sentences(with_truth(sentence_table(work), demo_seed(work)), [one.name for one in work.scorers])


def demo_seed(work: Work) -> int:
    """The seed of the demo world that a run is about. Raises RunError where its source is another."""
    source = work.recipe.source
    if not isinstance(source, DemoSource):
        raise RunError(
            f"{work.run.url}: only the demo world knows its truth; this run's source is of kind {source.kind}"
        )
    return source.seed


def with_truth(table: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The sentences with `right` and `errors` (types), from the demo world with this seed."""
    from factory.demo.truth import judge_captions

    verdicts = judge_captions(table["sentence"].to_list(), table["image_key"].to_list(), seed)
    right = [verdict.correct for verdict in verdicts]
    errors = [_kinds(verdict) for verdict in verdicts]  # fmt: skip
    return table.with_columns(pl.Series("right", right, pl.Boolean), pl.Series("errors", errors, pl.List(pl.String)))


def _kinds(verdict: CaptionVerdict) -> list[str]:
    kinds = {kind for one in verdict.sentences for kind in one.errors}
    return sorted(kinds) if kinds or verdict.correct else ["unparsed"]


def evaluate_sentences(table: pl.DataFrame, names: list[str]) -> Evaluation:
    """Of sentences with `image_key`, `right`, `errors`, `kept` and a score column for each name.

    What is `before` selection, and what filters are measured on, are the captions of the first try, where the columns `rung`
    and `cut_from` tell.
    """
    if table.is_empty():
        raise RunError("no caption of this run has a sentence, so there is nothing to evaluate")
    kept = table.filter("kept")
    first = table.filter(pl.col("rung").is_null(), pl.col("cut_from").is_null()) if "rung" in table.columns else table
    precision = {"before": _mean(first)} | ({"after": _mean(kept)} if kept.height else {})
    right = int(first["right"].sum())
    found = Evaluation(
        first.height,
        first.select("image_key", "view", "candidate").unique().height,
        precision,
        round(int(kept["right"].sum()) / right, 4) if right else None,
        {"before": _errors(first)} | ({"after": _errors(kept)} if kept.height else {}),
    )
    for name in names:
        scored = first.filter(pl.col(name).is_not_null(), pl.col(name).is_not_nan())
        found.judged[name] = round(scored.height / max(1, first.height), 4)
        if scored["right"].n_unique() == 2:
            found.auroc[name] = auroc_of(scored, name)
            found.coverage[name] = _coverage(scored, name)
    return found


def _mean(rows: pl.DataFrame) -> Share:
    counts = rows.group_by("image_key", maintain_order=True).agg(pl.col("right").sum(), pl.len())
    right, total = (counts[name].to_numpy().astype(np.float64) for name in ("right", "len"))
    values = [right[draw].sum() / total[draw].sum() for draw in _draws(len(right))]
    return Share(float(right.sum() / total.sum()), *_interval(values))


def _errors(rows: pl.DataFrame) -> dict[str, float]:
    counts = rows.select(pl.col("errors").explode()).drop_nulls().to_series().value_counts(sort=True)
    return {kind: round(count / rows.height, 4) for kind, count in counts.iter_rows()}


def auroc_of(rows: pl.DataFrame, name: str) -> Share:
    """P(a right sentence scores above a wrong one), ties half; the interval by drawing images anew."""
    image = rows["image_key"].rank("dense").to_numpy().astype(np.int64) - 1
    places = rows[name].rank("dense").to_numpy().astype(np.int64) - 1
    right = rows["right"].to_numpy()
    images, levels = int(image.max()) + 1, int(places.max()) + 1

    def area(weights: NDArray[np.float64]) -> float:
        weight = weights[image]
        high = np.bincount(places, weight * right, levels)
        low = np.bincount(places, weight * ~right, levels)
        below = np.cumsum(low) - low
        return float((high * (below + low / 2)).sum() / max(1e-12, high.sum() * low.sum()))

    values = [area(np.bincount(draw, minlength=images).astype(np.float64)) for draw in _draws(images)]
    return Share(area(np.ones(images)), *_interval(values))


def _coverage(rows: pl.DataFrame, name: str) -> dict[float, float]:
    """Precision of the best-scored part of the sentences, by its share; equal scores count alike."""
    levels = rows.group_by(name).agg(pl.col("right").sum(), pl.len()).sort(name, descending=True)
    counts = levels["len"].to_numpy().astype(np.float64)
    right = levels["right"].to_numpy().astype(np.float64)
    ends = np.cumsum(counts)
    sums = np.cumsum(right)
    found = {}
    for share in COVERAGES:
        wanted = share * ends[-1]
        place = int(np.searchsorted(ends, wanted))
        before = ends[place] - counts[place]
        found[share] = float((sums[place] - right[place] + right[place] * (wanted - before) / counts[place]) / wanted)
    return found


def _draws(count: int) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, count, count) for _ in range(RESAMPLES)]


def _interval(values: list[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
