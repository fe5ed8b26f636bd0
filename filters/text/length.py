"""Captions too short or too long to be captions."""

from typing import ClassVar, Self

import polars as pl
from pydantic import Field, model_validator

from filters.contract.filter import Filter
from filters.contract.ratio import ratio
from filters.wording.words import WORD


class Length(Filter):
    """How far a caption is outside its limits of words and characters.

    **Finds** captions too short to say anything (file names, single tags) or too long for their use.

    **Scores** 1 within all limits. Outside, the score is the ratio by which the limit is missed: the lowest of
    `words / min_words`, `chars / min_chars` and `max_words / words`. So a threshold of 1 keeps to the limits, 0.5
    tolerates a factor of two, and an empty caption scores 0. Null text has no score. A word is a run of letters and
    digits; punctuation and emoji do not count. In scripts written without spaces (Han, kana, Thai, Lao, Khmer,
    Myanmar) every character counts as a word.

    **Defaults.** More than 2 words and more than 5 characters are DataComp's basic filter (`mlfoundations/datacomp`,
    `baselines/apply_filter.py`); 512 words is twice the longest that CC12M allows. False positives: none of the 15,833
    human captions of Conceptual Captions' validation set is outside.

    **Example.** With `min_words: 4`, "a dog sleeping" scores 0.75.
    """

    name: ClassVar[str] = "length"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"words": pl.UInt32(), "chars": pl.UInt32()}

    min_words: int = Field(3, ge=0, description="Fewest words, from 0 (DataComp basic: more than 2).")
    max_words: int = Field(512, ge=1, description="Most words, at least min_words (CC12M: 256 for short captions).")
    min_chars: int = Field(6, ge=0, description="Fewest characters, outer white space aside (DataComp: more than 5).")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_words < self.min_words:
            raise ValueError(f"max_words ({self.max_words}) is below min_words ({self.min_words})")
        return self

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        text = pl.col("text")
        counts = self.inputs(captions).select(
            words=text.str.count_matches(WORD).cast(pl.UInt32),
            chars=text.str.strip_chars().str.len_chars().cast(pl.UInt32),
        )
        ratios = [pl.lit(1.0), self.max_words / pl.col("words")]
        ratios += [ratio(pl.col("words"), self.min_words)] if self.min_words else []
        ratios += [ratio(pl.col("chars"), self.min_chars)] if self.min_chars else []
        score = pl.when(pl.col("words").is_not_null()).then(pl.min_horizontal(ratios))
        return counts.select(score.cast(pl.Float64).alias("score"), "words", "chars")
