"""Captions that say what another caption of the set says."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from filters.contract.filter import SetFilter
from filters.sets.duplicate_groups import KEY, arrange
from filters.sets.spill import Answers, Spill, part_of
from filters.wording.same_text import same_text


class ExactDuplicates(SetFilter):
    """Whether a caption is the first of those of its set that say the same.

    **Finds** captions that differ in nothing but case, punctuation, white space, and Unicode's ways to write a
    character. `size` is how many captions say the same, itself included.

    **Scores** 1 for the first of a group, the one with the smallest key (image_key, view, candidate), and 0 for its
    others, so that any threshold keeps one of each. Rows that lack a part of the key come after those that have it, in
    their order; rows with the same complete key are one caption given twice, and score the same. Null text has no
    score, and where it looks within images, no more has a caption without an image key.

    **Defaults.** Within the whole set. That is too strict where images are alike: short captions repeat rightly (17 % of
    InstructBLIP's for COCO, POPE's repository; 0.4 % of the human ones in Multi30k), and dropping them drops their images;
    look `within: image` there, and at `repeated_caption` for what is wrong with the set.

    **Takes** on disk about 30 bytes a row and its key, in memory a sixty-fourth of that and some 100 MB.

    **Example.** Of "A dog runs." and "a dog runs" the second scores 0.
    """

    name: ClassVar[str] = "exact_duplicates"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    uses: ClassVar[tuple[str, ...]] = KEY
    evidence: ClassVar[dict[str, pl.DataType]] = {"size": pl.UInt32()}

    within: Literal["all", "image"] = Field(
        "all", description='Where captions are compared: in the whole set ("all") or those of one image ("image").'
    )

    def score_set(self, batches: Callable[[], Iterator[pl.DataFrame]], scratch: Path) -> Iterator[pl.DataFrame]:
        judged: list[pl.Series] = []
        captions = Spill(scratch / "captions")
        for batch in batches():
            rows = self._rows(batch, start=sum(map(len, judged)))
            judged.append(rows["group"].is_not_null())
            captions.add(rows.drop_nulls("group").with_columns(part=part_of(pl.col("group"))))
        answers = Answers(scratch / "answers", [len(batch) for batch in judged])
        for rows in captions.parts():
            answers.add(arrange(rows).select("row", "size", "first"))
        for rows, judgeable in zip(answers.batches({"size": pl.UInt32(), "first": pl.Boolean()}), judged, strict=True):
            yield rows.select(
                score=pl.when(judgeable).then(pl.col("first").fill_null(True).cast(pl.Float64)),
                size=pl.when(judgeable).then(pl.col("size").fill_null(1)),
            )

    def _rows(self, batch: pl.DataFrame, start: int) -> pl.DataFrame:
        """`row`, `group` (a hash of what is said, null where that cannot be compared) and the key."""
        rows = self.inputs(batch)
        rows = rows.with_columns(said=same_text(rows["text"]))
        group, judged = pl.col("said").hash(), pl.col("said").is_not_null()
        if self.within == "image":
            group = pl.struct("said", "image_key").hash()
            judged &= pl.col("image_key").is_not_null()
        row = pl.int_range(start, pl.len() + start, dtype=pl.UInt64)
        return rows.select(pl.when(judged).then(group).alias("group"), *KEY, row=row)
