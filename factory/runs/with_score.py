"""Captions of a part beside their scores."""

from __future__ import annotations

import polars as pl

from factory.runs.run import Run
from factory.runs.tables import CAPTION_KEY


def with_score(run: Run, rows: pl.DataFrame, part: str, name: str, fingerprint: str, column: str) -> pl.DataFrame:
    """All rows of a caption part, in their order, with the scores of a filter as a column; null where it has none."""
    try:
        found = run.storage.scan([f"scores/{name}/{part}.{fingerprint}.parquet"])
        scored = found.select(*CAPTION_KEY, "caption_fingerprint", pl.col("score").alias(column)).collect()
    except FileNotFoundError:
        return rows.with_columns(pl.lit(None, pl.Float64).alias(column))
    if scored.height == rows.height:  # a score part has the rows of its caption part, in its order
        return rows.hstack([scored[column]])
    keys = [*CAPTION_KEY, "caption_fingerprint"]  # a filter of whole sets scores this recipe's captions alone
    return rows.join(
        scored.unique(keys, keep="any"), left_on=[*CAPTION_KEY, "fingerprint"], right_on=keys, how="left", maintain_order="left"
    )  # fmt: skip
