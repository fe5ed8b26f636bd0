"""One score from several: a logistic regression on filters' scores, kept as plain numbers and applied by Polars alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from filters.contract.filter import FilterError

_PARTS: Final = ("weight", "logit_weight", "if_missing")
RIDGE: Final = 1.0
"""Weight of the squared coefficients of standardised scores beside the summed log-loss (scikit-learn's C = 1)."""
FEWEST_OF_A_CLASS: Final = 10
"""Right and wrong rows that a fit takes at least."""

LEAST_SPREAD: Final = 1e-3
"""Standard deviation of a score, in [0, 1], below which it says nothing that a fit could trust: it is left out. Divided by a
smaller one, noise in the last digits got weights above 100."""
SHRUNK_SPREAD: Final = 0.05
"""Standard deviation that a column is taken to have at least when it is standardised: the ridge then shrinks the weight of one
that hardly differs, instead of letting a row or two make it large."""
RAREST: Final = 5
"""Rows that a missing score needs, or lacks, for a part of its own."""

LOGIT_BOUND: Final = 1e-4

Method = Literal["logistic", "isotonic"]


class Feature(BaseModel):
    """A score's part in the sum: `weight * score + logit_weight * logit(score)`, or `if_missing` where the score is null.

    Scores are probabilities, or behave like them: what they say is often better added up as logits, which are taken of the
    score held within LOGIT_BOUND of 0 and 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    weight: float
    logit_weight: float = 0.0
    if_missing: float


class Stack(BaseModel):
    """P(right) from scores, in [0, 1].

    The sum of the features and `intercept` is the logit of the logistic method. The isotonic method maps that logit to a
    probability by straight lines through `knots` (logit, probability), level outside of them; both never decrease.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Method
    features: tuple[Feature, ...] = Field(min_length=1)
    intercept: float
    knots: tuple[tuple[float, float], ...] = ()
    fitted_on: int = Field(ge=1, description="Labelled rows it was fitted on.")

    def expression(self) -> pl.Expr:
        """The score of each row of a frame with a column per feature; null where all of them are."""
        logit = pl.lit(self.intercept)
        scores = {one: pl.col(one.name).cast(pl.Float64).fill_nan(None) for one in self.features}
        for one, score in scores.items():
            part = score * one.weight + _logit_of(score) * one.logit_weight
            logit = logit + pl.when(score.is_null()).then(one.if_missing).otherwise(part)
        share = 1.0 / (1.0 + (-logit).exp()) if self.method == "logistic" else _through(self.knots, logit)
        return pl.when(pl.any_horizontal(score.is_not_null() for score in scores.values())).then(share)


def fit_stack(rows: pl.DataFrame, features: Sequence[str], right: NDArray[np.bool_], method: Method) -> Stack:
    """Fit a stack on labelled rows; deterministic. Features that hardly differ (LEAST_SPREAD) are left out.

    A missing score gets a part of its own, standing for "this filter could not judge". Raises FilterError with fewer than
    FEWEST_OF_A_CLASS right or wrong rows, or where no feature tells two rows apart.
    """
    fewest = int(min(right.sum(), (~right).sum()))
    if fewest < FEWEST_OF_A_CLASS:
        raise FilterError(
            f"A stack takes at least {FEWEST_OF_A_CLASS} right and {FEWEST_OF_A_CLASS} wrong rows to be fitted on; here "
            f"are {int(right.sum())} right and {int((~right).sum())} wrong. Label more, or calibrate a single filter."
        )
    columns: list[NDArray[np.float64]] = []
    owners: list[tuple[str, str]] = []
    for name in features:
        score = rows[name].cast(pl.Float64).fill_nan(None)
        logit = rows.select(_logit_of(pl.col(name).cast(pl.Float64).fill_nan(None))).to_series()
        parts = {
            "weight": score.fill_null(0.0),
            "logit_weight": logit.fill_null(0.0),
            "if_missing": score.is_null().cast(pl.Float64),
        }
        for part, values in parts.items():
            if _varies(part, score, values):
                columns.append(values.to_numpy())
                owners.append((name, part))
    if not columns:
        raise FilterError(
            f"None of {', '.join(features)} tells any two labelled rows apart; a stack needs one that does."
        )
    weights, intercept = _logistic(np.column_stack(columns), right)
    by_owner = dict(zip(owners, weights.tolist(), strict=True))
    parts_by_name = {
        name: {part: by_owner[name, part] for part in _PARTS if (name, part) in by_owner} for name in features
    }
    parts_of = tuple(
        Feature(name=name, **(dict.fromkeys(("weight", "if_missing"), 0.0) | mine))
        for name, mine in parts_by_name.items()
        if mine
    )
    stack = Stack(method="logistic", features=parts_of, intercept=intercept, fitted_on=len(right))
    if method == "logistic":
        return stack
    share = rows.select(stack.expression().alias("share"))["share"].to_numpy()
    return stack.model_copy(update={"method": "isotonic", "knots": _isotonic_knots(_logit(share), right)})


def _varies(part: str, score: pl.Series, values: pl.Series) -> bool:
    """Whether a part of a feature differs enough between the rows to be given a weight."""
    if part == "if_missing":
        missing = score.null_count()
        return min(missing, score.len() - missing) >= RAREST
    given = score.drop_nulls()
    spread = given.std(ddof=0) or 0.0
    # Of two values the logit says nothing more.
    return isinstance(spread, float) and spread >= LEAST_SPREAD and (part == "weight" or values.n_unique() > 2)


def _logistic(x: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Ridge logistic regression on standardised columns; weights and intercept for the columns as they were given."""
    from scipy.optimize import minimize
    from scipy.special import expit

    mean, spread = x.mean(axis=0), np.maximum(x.std(axis=0), SHRUNK_SPREAD)
    design = np.column_stack([(x - mean) / spread, np.ones(len(x))])
    penalty = np.append(np.full(x.shape[1], RIDGE), 0.0)
    sign = np.where(right, 1.0, -1.0)

    def loss(beta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (design @ beta)
        gradient = -(design.T @ (sign * expit(-margin))) + penalty * beta
        return float(np.logaddexp(0, -margin).sum() + 0.5 * (penalty * beta**2).sum()), gradient

    found: Any = minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    weights = found.x[:-1] / spread
    return weights, float(found.x[-1] - (weights * mean).sum())


def _isotonic_knots(logit: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    from scipy.optimize import isotonic_regression

    order = np.argsort(logit, kind="stable")
    places, inverse = np.unique(logit[order], return_inverse=True)
    rows = np.bincount(inverse)
    share = np.bincount(inverse, weights=right[order].astype(np.float64)) / rows
    fit: Any = isotonic_regression(share, weights=rows)
    # The middle of each level stretch: lines between the middles keep the order of what lies within a stretch.
    middles = [float(np.average(places[a:b], weights=rows[a:b])) for a, b in pairwise(fit.blocks)]
    levels = [float(fit.x[a]) for a in fit.blocks[:-1]]
    return tuple(zip(middles, levels, strict=True))


def _logit_of(score: pl.Expr) -> pl.Expr:
    held = score.clip(LOGIT_BOUND, 1 - LOGIT_BOUND)
    return (held / (1 - held)).log()


def _logit(share: NDArray[np.float64]) -> NDArray[np.float64]:
    safe = np.clip(share, 1e-12, 1 - 1e-12)
    return np.asarray(np.log(safe / (1 - safe)), dtype=np.float64)


def _through(knots: Sequence[tuple[float, float]], x: pl.Expr) -> pl.Expr:
    """Straight lines through the knots, level before the first and after the last, as a sum of bounded ramps."""
    total = pl.lit(knots[0][1])
    for (left, low), (end, high) in pairwise(knots):
        total = total + (x.clip(left, end) - left) / (end - left) * (high - low)
    return total.clip(0.0, 1.0)
