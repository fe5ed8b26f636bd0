"""The lowest threshold above which a share of right rows is proven, although it is chosen on the rows that prove it.

Learn-then-Test (Angelopoulos, Bates, Candès, Jordan & Lei, arXiv 2110.01052): each threshold is a hypothesis "of the rows
that reach it, less than the target is right", tested with an exact binomial p-value, and the chance that any true one is
rejected is held below 1 - confidence. Thresholds are tested from strict to loose, as fixed-sequence testing does. One bad
row among the first few would end such a sequence, so it has several starts (their section 5): the level 1 - confidence is
split evenly among STARTS, and a rejection passes its level on to the next threshold (the fallback procedure of Wiens &
Dmitrienko, J. Biopharm. Stat. 15, 2005). That holds for any dependence between the tests; the thresholds and starts are
fixed by the number of labels and the distribution of the scores alone, never by the labels.

What it takes: the labelled rows are a random sample of the rows that the promise is about, independent of each other.
Thresholds are quantiles of all rows. Where only the labelled ones are known, they are quantiles of those; the promise then
takes one thing more: that precision, once below the target as the threshold is loosened, does not come back above it.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from filters.calibration.binomial import p_value, rows_needed

STARTS: Final = (2, 4, 8)
"""Where testing starts, in multiples of the fewest rows that could prove the target (all of them right). Of 1 to 16 and
their combinations these kept the most rows over nine settings of score, target and 120 to 3,000 labels."""
STEPS: Final = 60
"""Thresholds tested, at keep-rates in geometric progression."""


def fewest_rows(target: float, confidence: float) -> int:
    """Rows, all of them right, that prove the target."""
    return math.ceil(math.log(1 - confidence) / math.log(target))


def keep_rates(labels: int, target: float, confidence: float) -> NDArray[np.float64]:
    """The keep-rates whose thresholds are tested, strict to loose; empty where `labels` rows can prove nothing."""
    least = _first_start(labels, target, confidence) / max(1, labels)
    return np.geomspace(least, 1.0, STEPS) if least <= 1 else np.zeros(0)


def proven(
    right: NDArray[np.int64], rows: NDArray[np.int64], labels: int, target: float, confidence: float
) -> NDArray[np.bool_]:
    """For each keep-rate of `keep_rates`: whether at least `target` of the rows that it keeps are right.

    All that are True are so at once with probability `confidence` at least. `rows` and `right`: how many labelled rows
    reach its threshold, and how many of those are right.
    """
    rates = keep_rates(labels, target, confidence)
    levels = _start_levels(labels, rates, target, confidence)
    rejected = np.zeros(len(rates), dtype=np.bool_)
    passed_on = 0.0
    for place, p in enumerate(p_value(right, rows, target)):
        level = levels[place] + passed_on
        rejected[place] = p <= level
        passed_on = level if rejected[place] else 0.0
    return rejected


def labels_needed(
    right: NDArray[np.int64], rows: NDArray[np.int64], labels: int, target: float, confidence: float
) -> int | None:
    """About how many labels in all would prove the target at some threshold, if the shares right stay as they are.

    A share is estimated with half a wrong and half a right row more than seen, since the best of many is a lucky one. None
    where none of the shares reaches the target: more labels would not help, a better score would.
    """
    best: int | None = None
    strict = confidence + (1 - confidence) * (1 - 1 / len(STARTS))
    for good, kept in zip(right.tolist(), rows.tolist(), strict=True):
        needed = rows_needed((good + 0.5) / (kept + 1), target, strict) if kept else None
        if needed is not None:
            total = math.ceil(needed * labels / kept)
            best = total if best is None else min(best, total)
    return best


def _first_start(labels: int, target: float, confidence: float) -> int:
    least = fewest_rows(target, confidence)
    return STARTS[0] * least if STARTS[0] * least <= labels else least


def _start_levels(labels: int, rates: NDArray[np.float64], target: float, confidence: float) -> NDArray[np.float64]:
    """The level that each threshold gets of its own: the starts share it evenly, other thresholds get none."""
    least = fewest_rows(target, confidence)
    starts = [start * least for start in STARTS if start * least <= labels] or [least]
    levels = np.zeros(len(rates))
    for start in starts if len(rates) else []:
        place = min(int(np.searchsorted(rates, start / labels - 1e-12)), len(rates) - 1)
        levels[place] += (1 - confidence) / len(starts)
    return levels
