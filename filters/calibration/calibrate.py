"""From labelled captions to a calibration."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.calibration.binomial import interval, lower_bound
from filters.calibration.calibration import ALL, Calibration, Curve, Estimate, Kept, Labels, Stratum
from filters.calibration.promised_precision import fewest_rows, keep_rates, labels_needed, proven
from filters.calibration.roc import auroc
from filters.calibration.score_sketch import BINS, ScoreSketch, bin_of
from filters.calibration.stacking import Method, Stack, fit_stack
from filters.contract.filter import FilterError

FIT_SHARE: Final = 1 / 3
"""Share of the labelled rows that fit a stack; the threshold is tested on the others."""
CURVE_POINTS, STRATUM_CURVE_POINTS, MOST_STRATA = 100, 20, 50
NOT_A_SAMPLE: Final = 1.63
"""Kolmogorov's statistic sqrt(n) * D above which scores come from another distribution, at 1 % (Smirnov 1948)."""

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class _Sample:
    """Labelled rows, and the population that they are a sample of, by the bins of their scores."""

    bins: Integers
    right: Flags
    scores: NDArray[np.float64]
    reaching: Integers  # rows of the population in each bin or a higher one

    def thresholds(self, rates: NDArray[np.float64]) -> Integers:
        """Per keep-rate, the highest bin whose lower edge keeps at least that share of the population."""
        wanted = np.ceil(rates * self.reaching[0] - 1e-9)
        return np.asarray(np.searchsorted(-self.reaching, -wanted, side="right") - 1, dtype=np.int64)

    def counts(self, bins: Integers) -> tuple[Integers, Integers]:
        """Labelled rows that reach each bin, and how many of those are right."""
        all_rows, right = np.sort(self.bins), np.sort(self.bins[self.right])
        return len(all_rows) - np.searchsorted(all_rows, bins), len(right) - np.searchsorted(right, bins)

    def keep_rates(self, bins: Integers) -> NDArray[np.float64]:
        """Share of the population that reaches each bin."""
        return self.reaching[bins] / max(1, int(self.reaching[0]))


def calibrate(
    rows: pl.DataFrame,
    score: str | Sequence[str],
    *,
    target_precision: float,
    confidence: float = 0.95,
    name: str | None = None,
    version: int = 1,
    label: str = "label",
    strata: Sequence[str] = (),
    group: str | None = None,
    population: pl.DataFrame | pl.LazyFrame | None = None,
    method: Method | None = None,
    unit: Literal["caption", "sentence"] = "caption",
    filters: Mapping[str, str] | None = None,
    captioner: Mapping[str, Mapping[str, str]] | None = None,
    set_aside: Mapping[str, int] | None = None,
) -> Calibration:
    """Measure a score on labelled rows and find the lowest threshold that proves the target precision.

    The promise: with probability `confidence` over the draw of the labelled rows, at least `target_precision` of the rows
    of the population that score at least `threshold` are right (`filters/calibration/promised_precision.py` says why the choice of the
    threshold on the same rows does not spoil it). The labelled rows have to be a random sample of the population.

    Args:
        rows: labelled rows with a column per score in [0, 1], `label` (Boolean, or 0 and 1), the strata and the group.
        score: a filter's column; several, or one with a `method`, are stacked. A third of the rows, drawn by a hash of
            their group, fits the stack; the threshold is tested on the others, so that it is about the stack as it is.
        target_precision: share of right rows among the kept ones, in (0, 1).
        confidence: of the promise and of every interval, in (0, 1).
        name: of the record; the filter's name, or "stack", if unset. version: as given.
        strata: columns to report by (source, length, view); nulls are the stratum "none".
        group: rows with the same value (candidates of one image) are not independent: one of each counts.
        population: all rows that the promise is about, with the score and strata columns; the labelled rows, if unset.
        method: "logistic" or "isotonic"; the first for several scores, if unset.
        unit: what a row is.
        filters, captioner: fingerprints to keep in the record. set_aside: rows the caller left out, by reason.

    Raises:
        FilterError: a missing column, a label that is none, scores outside [0, 1], no usable row or one class only.
    """
    _check_shares(target_precision, confidence)
    columns = [score] if isinstance(score, str) else list(score)
    stacked = not isinstance(score, str) or method is not None
    _check_columns(rows, [*columns, label, *strata, *([group] if group else [])])
    _check_scores(rows, columns)
    labelled, aside = _usable(rows, columns, label, group, stacked)
    aside = {reason: count for reason, count in {**(set_aside or {}), **aside}.items() if count}
    used = labelled.height
    _check_classes(labelled, label, aside)
    stack = None
    if stacked:
        fit = labelled.head(round(used * FIT_SHARE))
        stack = fit_stack(fit, columns, fit[label].to_numpy(), method or "logistic")
        labelled = labelled.slice(fit.height)
        _check_classes(labelled, label, aside)
    expression = stack.expression() if stack else pl.col(columns[0])
    labelled = labelled.with_columns(__score=expression)
    everything = labelled.lazy() if population is None else population.lazy()
    everything = _scored(everything, expression)
    whole = _sample(labelled, label, ScoreSketch.of(everything, "__score"))
    threshold = _promised(whole, target_precision, confidence)
    warnings = _warnings(whole, target_precision, confidence, population is not None)
    parts = [_stratum(whole, ALL, ALL, threshold, target_precision, confidence, CURVE_POINTS)]
    for column in strata:
        in_population = column in everything.collect_schema().names()
        source = everything if in_population else labelled.lazy()
        sketch = ScoreSketch.of(source.with_columns(_as_stratum(column)), "__score", [column])
        groups = labelled.with_columns(_as_stratum(column)).partition_by(column, as_dict=True, maintain_order=True)
        largest = sorted(groups.items(), key=lambda item: (-item[1].height, str(item[0][0])))[:MOST_STRATA]
        for (value,), mine in sorted(largest, key=lambda item: _natural(str(item[0][0]))):
            sample = _sample(mine, label, ScoreSketch(sketch.bins.filter(pl.col(column) == value)))
            part = _stratum(sample, column, value, threshold, target_precision, confidence, STRATUM_CURVE_POINTS)
            parts.append(part)
    return Calibration(
        name=name or ("stack" if stacked else columns[0]),
        version=version,
        unit=unit,
        filter=None if stacked else columns[0],
        stack=stack,
        target_precision=target_precision,
        confidence=confidence,
        threshold=None if threshold is None else threshold / BINS,
        labels=Labels(
            given=rows.height + sum((set_aside or {}).values()),
            used=used,
            tested=labelled.height,
            set_aside=aside,
            fingerprint=_fingerprint(rows, columns, label),
        ),
        strata=tuple(parts),
        filters={name: mark for name, mark in (filters or {}).items() if name in _read(columns, stack)},
        captioner={view: dict(marks) for view, marks in (captioner or {}).items()},
        warnings=tuple(warnings),
    )


# --- the labelled rows -------------------------------------------------------------------------------------------------


def as_label(values: pl.Series) -> pl.Series:
    """Labels as Booleans with nulls: from Booleans, or numbers that are 0 or 1. Raises FilterError for anything else."""
    if values.dtype == pl.Boolean or values.dtype == pl.Null:
        return values.cast(pl.Boolean)
    wrong = values.drop_nulls()
    if values.dtype.is_numeric():
        wrong = wrong.filter((wrong != 0) & (wrong != 1))
        if not wrong.len():
            return values.cast(pl.Boolean)
    raise FilterError(
        f"The column {values.name!r} holds {wrong[0] if wrong.len() else values.dtype!r}; a label is true or 1 where the "
        f"caption is right, false or 0 where it is wrong, and null where nobody said."
    )


def _usable(
    rows: pl.DataFrame, columns: list[str], label: str, group: str | None, stacked: bool
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The rows that say something, in an order drawn by a hash of their group; and how many do not, by reason."""
    rows = rows.with_columns(as_label(rows[label]).alias(label))
    judged = rows.drop_nulls(label)
    scores = [pl.col(column).fill_nan(None).is_not_null() for column in columns]
    scored = judged.filter(pl.any_horizontal(scores) if stacked else scores[0])
    if group is None:
        place = pl.int_range(pl.len()).cast(pl.String)
    else:
        scored = scored.with_columns(pl.col(group).cast(pl.String).fill_null("none").alias("__group"))
        nth = pl.int_range(pl.len()).over("__group").cast(pl.String)
        place = pl.concat_str("__group", pl.lit("\x1f"), nth)
    keys = scored.select(place.alias("place"))["place"].to_list()
    drawn = scored.with_columns(pl.Series("__draw", [_digest(key) for key in keys], dtype=pl.String)).sort("__draw")
    one_each = drawn if group is None else drawn.unique("__group", keep="first", maintain_order=True)
    reasons = {
        "no_label": rows.height - judged.height,
        "unscored": judged.height - scored.height,
        f"same_{group}": drawn.height - one_each.height,
    }
    return one_each, {reason: count for reason, count in reasons.items() if count}


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _fingerprint(rows: pl.DataFrame, columns: list[str], label: str) -> str:
    """Of who was labelled how: the keys where there are any, else the scores; in any order."""
    keys = [column for column in ("image_key", "view", "candidate") if column in rows.columns] or columns
    lines = sorted(repr(row) for row in rows.select(*keys, as_label(rows[label]).alias(label)).iter_rows())
    return hashlib.sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()[:16]


def _scored(rows: pl.LazyFrame, expression: pl.Expr) -> pl.LazyFrame:
    names = rows.collect_schema().names()
    missing = [name for name in expression.meta.root_names() if name not in names]
    if missing:
        raise FilterError(f"The population has no column {', '.join(missing)}; it has {', '.join(names)}.")
    return rows.with_columns(__score=expression)


def _sample(rows: pl.DataFrame, label: str, population: ScoreSketch) -> _Sample:
    bins = rows.select(bin_of(pl.col("__score")).cast(pl.Int64).alias("bin"))["bin"].to_numpy()
    return _Sample(bins, rows[label].to_numpy(), rows["__score"].to_numpy(), population.reaching())


def _as_stratum(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String).fill_null("none")


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sorts "9-16 words" before "17-32 words"."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]


def _read(columns: list[str], stack: Stack | None) -> set[str]:
    return set(columns) if stack is None else {one.name for one in stack.features}


# --- what they say -----------------------------------------------------------------------------------------------------


def _promised(sample: _Sample, target: float, confidence: float) -> int | None:
    """The bin of the lowest threshold that is proven, if one is."""
    labels = len(sample.bins)
    rates = keep_rates(labels, target, confidence)
    if not len(rates):
        return None
    bins = sample.thresholds(rates)
    rows, right = sample.counts(bins)
    held = proven(right, rows, labels, target, confidence)
    return int(bins[np.flatnonzero(held)[-1]]) if held.any() else None


def _needed(sample: _Sample, target: float, confidence: float) -> int | None:
    bins = sample.thresholds(np.linspace(0.02, 1.0, 50))
    rows, right = sample.counts(bins)
    return labels_needed(right, rows, len(sample.bins), target, confidence)


def _stratum(
    sample: _Sample, by: str, value: str, threshold: int | None, target: float, confidence: float, points: int
) -> Stratum:
    own = threshold if by == ALL else _promised(sample, target, confidence)
    both = 0 < int(sample.right.sum()) < len(sample.right)
    return Stratum(
        by=by,
        value=value,
        labels=len(sample.bins),
        right=int(sample.right.sum()),
        auroc=_estimate(*auroc(sample.scores, sample.right, confidence)) if both else None,
        kept=None if threshold is None else _kept(sample, threshold, confidence),
        own=None if own is None else _kept(sample, own, confidence),
        labels_needed=_needed(sample, target, confidence) if own is None else None,
        curve=_curve(sample, points, confidence),
    )


def _kept(sample: _Sample, threshold: int, confidence: float) -> Kept:
    bins = np.array([threshold])
    (rows,), (right,) = sample.counts(bins)
    low, high = interval([right], [rows], confidence)
    all_right = int(sample.right.sum())
    recall_low, recall_high = interval([right], [all_right], confidence)
    return Kept(
        threshold=threshold / BINS,
        keep_rate=_rounded(sample.keep_rates(bins)[0]),
        rows=int(rows),
        right=int(right),
        precision=_estimate(right / max(1, rows), low[0], high[0]),
        lower_bound=_rounded(lower_bound([right], [rows], confidence)[0]),
        recall=_estimate(right / max(1, all_right), recall_low[0], recall_high[0]),
    )


def _curve(sample: _Sample, points: int, confidence: float) -> Curve:
    bins = np.unique(sample.thresholds(np.linspace(1 / points, 1.0, points)))[::-1]
    rows, right = sample.counts(bins)
    seen = rows > 0
    bins, rows, right = bins[seen], rows[seen], right[seen]
    all_right = int(sample.right.sum())
    low, high = interval(right, rows, confidence)
    recall_low, recall_high = interval(right, np.full(len(right), all_right), confidence)
    columns = {
        "threshold": bins / BINS,
        "keep_rate": sample.keep_rates(bins),
        "precision": right / rows,
        "precision_low": low,
        "precision_high": high,
        "recall": right / max(1, all_right),
        "recall_low": recall_low,
        "recall_high": recall_high,
        "false_positive_rate": (rows - right) / max(1, len(sample.bins) - all_right),
    }
    exact = {"threshold"}
    return Curve(
        **{
            name: tuple(float(one) if name in exact else _rounded(one) for one in values)
            for name, values in columns.items()
        }
    )


def _estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=_rounded(value), low=_rounded(low), high=_rounded(high))


def _rounded(value: float) -> float:
    return round(float(value), 6)


def _warnings(sample: _Sample, target: float, confidence: float, has_population: bool) -> list[str]:
    found = []
    labels = len(sample.bins)
    least = fewest_rows(target, confidence)
    if labels < least:
        found.append(
            f"{labels} labels can prove no precision of {target:g}: it takes {least} even if every one of them is right"
        )
    if has_population and sample.reaching[0]:
        mine = _Sample(sample.bins, sample.right, sample.scores, sample.reaching).counts(np.arange(BINS))[0] / labels
        apart = float(np.abs(mine - sample.reaching / sample.reaching[0]).max())
        if apart * np.sqrt(labels) > NOT_A_SAMPLE:
            found.append(
                f"the labelled captions are no random sample of the run (their scores are distributed otherwise, by up to "
                f"{apart:.0%}): the promised precision holds for captions like the labelled ones only; draw captions at "
                f"random for labelling"
            )
    return found


# --- bad input ---------------------------------------------------------------------------------------------------------


def _check_shares(target: float, confidence: float) -> None:
    for name, value in (("target precision", target), ("confidence", confidence)):
        if not 0 < value < 1:
            raise FilterError(f"The {name} is a share above 0 and below 1, such as 0.95; not {value:g}.")


def _check_columns(rows: pl.DataFrame, wanted: Sequence[str]) -> None:
    missing = [column for column in wanted if column not in rows.columns]
    if missing:
        raise FilterError(
            f"The labelled rows have no column {', '.join(map(repr, missing))}; they have "
            f"{', '.join(map(repr, rows.columns)) or 'no columns'}."
        )


def _check_scores(rows: pl.DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        if not (rows[column].dtype.is_numeric() or rows[column].dtype == pl.Null):
            raise FilterError(f"The score {column!r} holds {rows[column].dtype}, not numbers.")
        outside = rows[column].cast(pl.Float64).fill_nan(None).drop_nulls()
        outside = outside.filter(~outside.is_between(0.0, 1.0))
        if outside.len():
            raise FilterError(
                f"The score {column!r} holds {outside[0]:g}; scores lie between 0 and 1, higher is better."
            )


def _check_classes(rows: pl.DataFrame, label: str, aside: Mapping[str, int]) -> None:
    right = int(rows[label].sum())
    if 0 < right < rows.height:
        return
    lost = f" ({', '.join(f'{count:,} {reason}' for reason, count in aside.items())} set aside)" if aside else ""
    if not rows.height:
        raise FilterError(f"No labelled row can be used{lost}.")
    raise FilterError(
        f"All {rows.height:,} usable labels say {'right' if right else 'wrong'}{lost}. A calibration compares right captions "
        f"with wrong ones: label a larger random sample."
    )
