"""Stacks: several scores as one probability, the same in numpy and Polars, whatever is missing."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from filters import FilterError
from filters.calibration.roc import auroc
from filters.calibration.stacking import Stack, fit_stack


def scored(count: int = 4000, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    a, b = rng.random(count), rng.random(count)
    right = rng.random(count) < 1 / (1 + np.exp(-(4 * a + 4 * b - 4)))
    missing = rng.random(count) < 0.1
    return pl.DataFrame({"a": a, "b": np.where(missing, np.nan, b), "same": np.full(count, 0.5)}), right


def share(stack: Stack, rows: pl.DataFrame) -> np.ndarray:
    return rows.select(stack.expression().alias("share"))["share"].to_numpy()


@pytest.mark.parametrize("method", ["logistic", "isotonic"])
def test_a_stack_is_better_than_each_of_its_scores_and_says_how_probable_right_is(method: str) -> None:
    rows, right = scored()
    stack = fit_stack(rows, ["a", "b", "same"], right, method)
    fresh, truth = scored(seed=1)
    shares = share(stack, fresh)
    assert auroc(shares, truth, 0.9)[0] > auroc(fresh["a"].to_numpy(), truth, 0.9)[0] + 0.05
    for low in (0.0, 0.25, 0.5, 0.75):
        inside = (shares >= low) & (shares <= low + 0.25)
        assert shares[inside].mean() == pytest.approx(truth[inside].mean(), abs=0.05)
    assert [one.name for one in stack.features] == ["a", "b"]


@pytest.mark.parametrize("method", ["logistic", "isotonic"])
def test_shares_are_in_range_and_never_fall_as_a_score_rises(method: str) -> None:
    rows, right = scored(500)
    stack = fit_stack(rows, ["a", "b"], right, method)
    grid = pl.DataFrame({"a": np.linspace(0, 1, 200), "b": np.full(200, 0.5)})
    shares = share(stack, grid)
    assert (np.diff(shares) >= -1e-12).all()
    assert shares.min() >= 0
    assert shares.max() <= 1


def test_a_missing_score_has_a_part_of_its_own_and_a_row_without_any_has_no_score() -> None:
    rows, right = scored()
    stack = fit_stack(rows, ["a", "b"], right, "logistic")
    some = pl.DataFrame({"a": [0.5, 0.5, None], "b": [0.5, None, None]}, schema={"a": pl.Float64, "b": pl.Float64})
    both, only_a, none = some.select(stack.expression())["literal"].to_list()
    assert abs(both - only_a) < 0.1
    assert none is None


def test_a_stack_of_constants_is_refused() -> None:
    rows, right = scored(500)
    with pytest.raises(FilterError, match="tells any two labelled rows apart"):
        fit_stack(rows, ["same"], right, "logistic")


def test_a_score_that_hardly_differs_gets_no_weight() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.5
    rows = pl.DataFrame(
        {
            "good": np.clip(0.5 + 0.2 * (right - 0.5) + rng.normal(0, 0.1, 400), 0, 1),
            "constant": 1.0 - 1e-5 * rng.random(400) * ~right,
        }
    )

    stack = fit_stack(rows, ["good", "constant"], right, "logistic")

    assert [feature.name for feature in stack.features] == ["good"]
    assert abs(stack.features[0].weight) < 50


def test_a_score_that_differs_in_a_row_or_two_gets_a_small_weight() -> None:
    rng = np.random.default_rng(1)
    right = rng.random(400) < 0.5
    nearly = np.ones(400)
    nearly[np.flatnonzero(~right)[:2]] = 0.9
    rows = pl.DataFrame({"good": 0.5 + 0.2 * (right - 0.5) + rng.normal(0, 0.1, 400), "nearly": nearly})

    weights = {
        feature.name: feature.weight for feature in fit_stack(rows, ["good", "nearly"], right, "logistic").features
    }

    assert abs(weights["nearly"]) < 15
