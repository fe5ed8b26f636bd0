"""Division by a limit, exact enough to compare with it."""

import polars as pl


def ratio(part: pl.Expr, limit: float | pl.Expr) -> pl.Expr:
    """`part / limit` for part >= 0 and limit > 0: 1 exactly where they are equal, and the same in a batch of any size.

    Polars divides a column by a constant through its reciprocal, but not in a frame of one row. Then 49 words would be
    0.9999999999999999 of a limit of 49 in one batch and 1 in another. A column that a join made can be such a constant.
    """
    return 1.0 / (limit / part)
