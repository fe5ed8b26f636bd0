"""The distribution of a score in one pass and little memory, and the best share of it, without sorting it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

BINS: Final = 1 << 16
"""Bins of equal width over [0, 1]: a quantile is exact to 1.5e-5. A power of two, so that bin edges are exact floats."""


@dataclass(frozen=True)
class ScoreSketch:
    """A histogram of scores per stratum: at most BINS counts each, whatever the number of rows.

    `bins` has a column per stratum column, `bin` (Int32, 0 ... BINS - 1) and `rows` (Int64, above 0).
    """

    bins: pl.DataFrame
    by: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: pl.LazyFrame | pl.DataFrame, score: str | pl.Expr, by: Sequence[str] = ()) -> ScoreSketch:
        """Count the scores of `rows` per stratum in one streaming pass. Null and NaN scores are left out."""
        expression = pl.col(score) if isinstance(score, str) else score
        counted = (
            rows.lazy()
            .select(*by, bin=bin_of(expression))
            .drop_nulls("bin")
            .group_by(*by, "bin")
            .agg(rows=pl.len().cast(pl.Int64))
        )
        return cls(counted.collect(engine="streaming"), tuple(by))

    def merge(self, *others: ScoreSketch) -> ScoreSketch:
        """The sketch of all their rows together, as if they had been counted in one pass."""
        together = pl.concat([self.bins, *(other.bins for other in others)])
        return ScoreSketch(together.group_by(*self.by, "bin").agg(pl.col("rows").sum()), self.by)

    def counts(self) -> NDArray[np.int64]:
        """Rows per bin, strata taken together; BINS numbers."""
        counts = np.zeros(BINS, dtype=np.int64)
        np.add.at(counts, self.bins["bin"].to_numpy(), self.bins["rows"].to_numpy())
        return counts

    def reaching(self) -> NDArray[np.int64]:
        """For each bin, rows in it or in a higher one: those that a threshold at its lower edge keeps."""
        return self.counts()[::-1].cumsum()[::-1]

    def keep_rate(self, threshold: float) -> float:
        """Share of the rows that score at least `threshold`, to within one bin; 0 without rows."""
        reaching = self.reaching()
        return float(reaching[min(BINS - 1, int(threshold * BINS))] / reaching[0]) if reaching[0] else 0.0

    def cuts(self, share: float) -> pl.DataFrame:
        """Where the best `share` of each stratum ends.

        One row a stratum: its columns, `total` rows, `wanted` = ceil(share * total), `bin` (the lowest that is needed),
        `above` (rows in higher bins) and `threshold` (that bin's lower edge, which keeps at least `wanted`).
        """
        over: list[str | pl.Expr] = [*self.by] or [pl.lit(0)]
        above = pl.col("rows").cum_sum().over(over, order_by=pl.col("bin"), descending=True) - pl.col("rows")
        total = pl.col("rows").sum().over(over)
        wanted = (total * share - 1e-9).ceil().cast(pl.Int64)  # 30 rows * 0.1 is 3, not 3.0000000000000004
        with_sums = self.bins.with_columns(total=total, wanted=wanted, above=above)
        ends = with_sums.filter(
            (pl.col("above") < pl.col("wanted")) & (pl.col("above") + pl.col("rows") >= pl.col("wanted"))
        )
        return ends.select(*self.by, "total", "wanted", "bin", "above", threshold=pl.col("bin") / BINS)


def bin_of(score: pl.Expr) -> pl.Expr:
    """The bin of a score in [0, 1]; 1 itself is in the last one. Null where the score is null or NaN."""
    return (score.fill_nan(None) * BINS).floor().clip(0, BINS - 1).cast(pl.Int32)


def in_best_share(rows: pl.DataFrame, score: str, share: float, by: Sequence[str], among: pl.Expr) -> pl.Series:
    """Whether each row is among the best `share` of the rows of its stratum for which `among` holds.

    Exactly ceil(share * rows) of each stratum are; of equal scores the earlier row is better. Only the rows of the one
    bin in which a stratum's share ends are ranked: nothing is sorted as a whole. Rows without a score are never among them.
    """
    place = "__row"
    standing = rows.lazy().with_row_index(place).filter(among).select(*by, place, score)
    cuts = ScoreSketch.of(standing, score, by).cuts(share).lazy().rename({"bin": "cut"})
    binned = standing.with_columns(bin=bin_of(pl.col(score))).drop_nulls("bin")
    joined = binned.join(cuts, on=list(by), how="inner", nulls_equal=True) if by else binned.join(cuts, how="cross")
    over: list[str | pl.Expr] = [*by] or [pl.lit(0)]
    edge = joined.filter(pl.col("bin") == pl.col("cut")).sort(place)
    rank = pl.col(score).rank("ordinal", descending=True).over(over)
    best = pl.concat(
        [
            joined.filter(pl.col("bin") > pl.col("cut")).select(place),
            edge.filter(rank <= pl.col("wanted") - pl.col("above")).select(place),
        ]
    ).collect()
    inside = np.zeros(rows.height, dtype=np.bool_)
    inside[best[place].to_numpy()] = True
    return pl.Series("best", inside)
