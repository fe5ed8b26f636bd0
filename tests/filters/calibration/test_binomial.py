"""Binomial bounds and AUROC: published values, and coverage counted on drawn samples."""

from __future__ import annotations

import numpy as np
import pytest

from filters.calibration.binomial import interval, lower_bound, p_value, rows_needed
from filters.calibration.roc import auroc


def test_bounds_are_those_of_the_tables() -> None:
    low, high = interval([7, 0, 10, 0], [20, 10, 10, 0], 0.95)
    assert np.round(low, 4).tolist() == [0.1539, 0.0, 0.6915, 0.0]  # Clopper-Pearson as R's binom.test gives it
    assert np.round(high, 4).tolist() == [0.5922, 0.3085, 1.0, 1.0]
    assert lower_bound(59, 59, 0.95) > 0.95 > lower_bound(58, 58, 0.95)
    assert lower_bound(285, 300, 0.975) == pytest.approx(0.919, abs=0.001)


def test_a_p_value_and_its_bound_reject_together() -> None:
    for right in range(81, 101):
        assert (p_value(right, 100, 0.9) <= 0.05) == (lower_bound(right, 100, 0.95) >= 0.9)


def test_the_rows_that_a_proof_takes() -> None:
    assert rows_needed(1.0, 0.95, 0.95) == 59
    needed = rows_needed(0.98, 0.95, 0.95)
    assert needed is not None
    assert p_value(np.floor(needed * 0.98), needed, 0.95) <= 0.05
    assert rows_needed(0.95, 0.95, 0.95) is None


def test_an_auroc_counts_pairs_and_ties_half() -> None:
    scores = np.array([0.1, 0.4, 0.35, 0.8, 0.4])
    right = np.array([False, False, True, True, True])
    pairs = [1.0 if high > low else 0.5 if high == low else 0.0 for high in scores[right] for low in scores[~right]]
    assert auroc(scores, right, 0.95)[0] == pytest.approx(np.mean(pairs))


def test_the_interval_of_an_auroc_covers_the_true_one_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    true = 1 / (1 + 0.25)  # P(u^x > v) for uniform u and v is 1 / (1 + x)
    covered = 0
    for _ in range(400):
        scores = np.concatenate([rng.random(60) ** 0.25, rng.random(40)])
        _, low, high = auroc(scores, np.arange(100) < 60, 0.9)
        covered += low <= true <= high
    assert 0.86 <= covered / 400 <= 0.95


def test_perfect_and_tiny_samples_have_wide_bounds_not_none() -> None:
    area, low, high = auroc(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]), 0.95)
    assert (area, high) == (1.0, 1.0)
    assert low < 0.3
    area, low, high = auroc(np.array([0.8, 0.3, 0.9]), np.array([True, False, False]), 0.95)
    assert 0 <= low < area < high <= 1
    with pytest.raises(ValueError, match="right and wrong"):
        auroc(np.array([0.1, 0.2]), np.array([True, True]), 0.95)
