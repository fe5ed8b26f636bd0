"""Groups of captions that are alike: how many, and which one of them comes first."""

from typing import Final

import polars as pl

KEY: Final = ("image_key", "view", "candidate")


def arrange(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of groups of at least two captions, sorted by group, with the group's `size` and whether a row is `first`.

    `rows` have `group`, `row` and KEY. The first of a group is the one with the smallest key, and of rows that lack a part
    of it, which come last, the one that stands first. Rows with one complete key are one caption given twice (work that
    was retried): they count once, and are first together.
    """
    repeated = rows.filter(pl.len().over("group") > 1).sort("group", *KEY, "row", nulls_last=True)
    identity = pl.struct("group", *KEY)
    complete = ~pl.any_horizontal(pl.col(part).is_null() for part in KEY)
    again = complete & (identity == identity.shift()).fill_null(False)
    return (
        repeated.with_columns(place=(~again).cast(pl.UInt32).cum_sum().over("group"))
        .with_columns(size=pl.col("place").max().over("group"), first=pl.col("place") == 1)
        .drop("place")
        .filter(pl.col("size") > 1)
    )
