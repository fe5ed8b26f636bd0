"""What a count of right rows among so many proves about the share of right rows: exact binomial bounds.

Needs scipy, imported when called.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_ROWS = 10_000_000
"""Where `rows_needed` stops looking."""

Floats = NDArray[np.float64]


def interval(right: ArrayLike, rows: ArrayLike, confidence: float) -> tuple[Floats, Floats]:
    """Clopper and Pearson's two-sided interval of a share, in [0, 1]; (0, 1) where there are no rows.

    Clopper & Pearson, Biometrika 26 (1934): its coverage is at least `confidence` at every true share.
    """
    tail = (1 - confidence) / 2
    return _quantile(right, rows, tail, more=0), _quantile(right, rows, 1 - tail, more=1)


def lower_bound(right: ArrayLike, rows: ArrayLike, confidence: float) -> Floats:
    """Clopper and Pearson's one-sided lower bound of a share."""
    return _quantile(right, rows, 1 - confidence, more=0)


def p_value(right: ArrayLike, rows: ArrayLike, share: float) -> Floats:
    """P(at least `right` of `rows` are right), were the true share `share`: small where the true share is higher.

    At most `share` is rejected at level d exactly where `lower_bound(right, rows, 1 - d)` is at least `share`.
    """
    from scipy.special import betainc

    right, rows = _counts(right, rows)
    tail: Any = betainc(np.maximum(right, 1.0), rows - np.maximum(right, 1.0) + 1.0, share)
    return np.where((right > 0) & (rows > 0), tail, 1.0)


def rows_needed(share: float, target: float, confidence: float) -> int | None:
    """Rows, to within 5 %, of which this share is right, that prove at least `target`; None where none up to MOST_ROWS do."""
    rows = np.unique(np.geomspace(1, MOST_ROWS, 400).astype(np.int64)).astype(np.float64)
    enough = p_value(np.floor(rows * share), rows, target) <= 1 - confidence
    return int(rows[np.argmax(enough)]) if share > target and enough.any() else None


def _quantile(right: ArrayLike, rows: ArrayLike, level: float, more: int) -> Floats:
    from scipy.special import betaincinv

    right, rows = _counts(right, rows)
    first, second = right + more, rows - right + 1 - more
    inside = (first > 0) & (second > 0) & (rows > 0)
    found: Any = betaincinv(np.where(inside, first, 1.0), np.where(inside, second, 1.0), level)
    return np.where(inside, found, float(more))


def _counts(right: ArrayLike, rows: ArrayLike) -> tuple[Floats, Floats]:
    return np.asarray(right, dtype=np.float64), np.asarray(rows, dtype=np.float64)
