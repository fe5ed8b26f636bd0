"""Sets in which captions pile up at one length, where they were cut."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Final

import polars as pl
from pydantic import Field

from filters.contract.filter import SetFilter

_MEASURES: Final = {
    "tokens": pl.col("output_tokens"),
    "words": pl.col("text").str.count_matches(r"\S+").cast(pl.Int64),
    "characters": pl.col("text").str.len_chars().cast(pl.Int64),
}
LEAST_WORDS: Final = 16
"""Words below which a number of them is no limit: short captions of a template have one length and are whole."""
_LENGTH: Final = {"view": pl.String, "measure": pl.String, "length": pl.Int64}


class LengthCliff(SetFilter):
    """Whether a caption has just the length at which the captions of its view are cut.

    **Finds** limits that nothing else tells of: a column of 200 characters in the data base that the captions came from, a
    `max_tokens` that was not recorded. There, captions of one exact length pile up, in tokens (`output_tokens`), in
    words (between white space) or in characters, and hardly any are longer. `measure` says which, `length` is the limit, and
    `excess` the share of the captions of that length that are too many.

    A length is a limit of its view where at least `min_captions` captions have it, `times` as many as any length between
    half of it and itself, and no more than a tenth as many captions are longer; in words, from 16 on.

    **Scores** `1 - excess` at a limit, where the excess is `1 - n / m` for m captions of this length and n of the commonest
    of the shorter lengths, half of it and up: the probability that the caption ends there by itself. All others score 1.
    Null text has no score.

    **Defaults.** 50 captions and five times as many: none of the 15,833 human captions of Conceptual Captions' validation
    set and of 6,000 by three VLMs (POPE's repository) is at a limit by them. Captions drawn from a template
    may all have one length and be whole; so may those of a set where one caption stands on most images.

    **Takes** a few bytes in memory for each length that occurs.

    **Example.** Of 1,000 captions cut at 200 characters, 300 of which have 200 and never more than 10 any other length,
    those 300 score 0.033.
    """

    name: ClassVar[str] = "length_cliff"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("text",)
    uses: ClassVar[tuple[str, ...]] = ("output_tokens", "view")
    evidence: ClassVar[dict[str, pl.DataType]] = {"measure": pl.String(), "length": pl.Int64(), "excess": pl.Float64()}

    min_captions: int = Field(50, ge=2, description="Fewest captions of one exact length, from 2, that make a limit.")
    times: float = Field(5.0, gt=1, description="How many times as many as any shorter length has, above 1.")

    def score_set(self, batches: Callable[[], Iterator[pl.DataFrame]], scratch: Path) -> Iterator[pl.DataFrame]:
        cliffs = self._cliffs(batches)
        for batch in batches():
            rows = self._measured(batch)
            for measure in _MEASURES:
                at = cliffs.filter(measure=measure).select(
                    "view", pl.col("length").alias(measure), pl.col("excess").alias(f"{measure} excess")
                )
                rows = rows.join(at, on=["view", measure], how="left", nulls_equal=True, maintain_order="left")
            # A length in tokens is what a captioner is cut by; words and characters follow from it.
            first = [pl.when(pl.col(f"{measure} excess").is_not_null()) for measure in _MEASURES]
            excess = pl.coalesce(f"{measure} excess" for measure in _MEASURES)
            yield rows.select(
                score=pl.when("judged").then(1.0 - excess.fill_null(0.0)),
                measure=pl.coalesce(when.then(pl.lit(measure)) for when, measure in zip(first, _MEASURES, strict=True)),
                length=pl.coalesce(when.then(measure) for when, measure in zip(first, _MEASURES, strict=True)),
                excess=excess,
            )

    def _measured(self, batch: pl.DataFrame) -> pl.DataFrame:
        """`view`, whether the caption can be `judged`, and its length by every measure, null where it has none."""
        judged = pl.col("text").is_not_null()
        lengths = {measure: pl.when(judged & (length > 0)).then(length) for measure, length in _MEASURES.items()}
        return self.inputs(batch).select("view", judged=judged, **lengths)

    def _cliffs(self, batches: Callable[[], Iterator[pl.DataFrame]]) -> pl.DataFrame:
        """`view`, `measure`, `length` and `excess` of every limit."""
        counts = pl.DataFrame(schema={**_LENGTH, "count": pl.UInt64})
        for batch in batches():
            rows = self._measured(batch)
            more = [rows.select("view", pl.lit(measure).alias("measure"), length=measure) for measure in _MEASURES]
            found = pl.concat(more).drop_nulls("length").group_by(*_LENGTH).agg(count=pl.len().cast(pl.UInt64))
            counts = pl.concat([counts, found]).group_by(*_LENGTH).agg(pl.col("count").sum())
        limits = [self._limits(group) for group in counts.partition_by("view", "measure")]
        return pl.concat(limits) if limits else pl.DataFrame(schema={**_LENGTH, "excess": pl.Float64})

    def _limits(self, counts: pl.DataFrame) -> pl.DataFrame:
        """The limits of one view by one measure, of which there is one at most."""
        counts = counts.sort("length")
        # Hardly any captions are longer than the limit, so only the longest lengths can be one.
        longer = pl.col("count").sum() - pl.col("count").cum_sum()
        enough = (pl.col("count") >= self.min_captions) & (longer <= pl.col("count") / 10)
        enough &= (pl.col("measure") != "words") | (pl.col("length") >= LEAST_WORDS)
        for length, count in counts.filter(enough).select("length", "count").iter_rows():
            near = counts.filter(pl.col("length").is_between(-(-length // 2), length - 1))
            most = int(near.select(pl.col("count").max().fill_null(0)).item())
            if count >= self.times * most:
                return counts.filter(length=length).select(*_LENGTH, excess=pl.lit(1.0 - most / count))
        return counts.clear().select(*_LENGTH, excess=pl.lit(0.0))
