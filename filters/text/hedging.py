"""Guesses: words by which a captioner says that it is not sure."""

from typing import ClassVar, Final

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter
from filters.contract.ratio import ratio
from filters.wording.sentences import sentence_texts

_B: Final = r"(?-u:\b)"
# "It looks as if he waits" is a guess, "clouds that look like cotton" and "as if painted" are similes.
_SOMEONE: Final = r"(?:it|he|she|they|there|this|that|these|those|someone|somebody|we|you)"
HEDGE: Final = (
    rf"(?i){_B}(?:appear(?:s|ed|ing)? (?:to|that|(?:like|as (?:if|though)) {_SOMEONE})|seem(?:s|ed|ing)?|seemingly"
    rf"|apparently|possibly|probably|perhaps"
    r"|maybe|presumably|supposedly|conceivably|(?:may|might|could)(?: very)?(?: well)?(?: also)? (?:be|have"
    r"|indicate|suggest)"
    r"|(?:most |very |quite |more )?likely|suggest(?:s|ing)?|impl(?:ies|ying)|indicat(?:es|ing)"
    rf"|look(?:s|ed|ing)? (?:like|as (?:if|though)) {_SOMEONE}|(?:it|this|there) looks? like|what (?:looks|appears)"
    rf"|some (?:kind|sort|type) of"
    rf"|it is (?:unclear|not clear|difficult|hard) (?:to|if|whether|what|who)|can(?:not|['’]t) be sure){_B}"
)


class Hedging(Filter):
    """How often a caption guesses.

    **Finds** hedges: "appears to be", "possibly", "might have", "suggesting that"; in English. A simile is none ("as
    if painted", "looks like cotton"). `hedges` counts them,
    `per_sentence` is their number by sentence.

    **Scores** `1 - per_sentence / max_per_sentence`, not below 0. Empty text scores 1, null text has no score.

    **Defaults.** 1 a sentence. No rule to drop by: 71 % of 2,000 captions by LLaVA for a brief description (POPE's
    repository) hedge at least once, but so do 57 % and 27 % of the dense captions that people wrote for IIW and DOCCI. More
    than one in two sentences, a score below 0.5, is a sign of guessing.

    **Example.** "It appears to be a dog. It runs." scores 0.5.
    """

    name: ClassVar[str] = "hedging"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("text",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"hedges": pl.UInt32(), "per_sentence": pl.Float64()}

    max_per_sentence: float = Field(
        1.0, gt=0, le=10, description="Hedges a sentence at which the score is 0 (judgement)."
    )

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        text = pl.col("text")
        return (
            self.inputs(captions)
            .select(
                hedges=text.str.count_matches(HEDGE).cast(pl.UInt32),
                sentences=sentence_texts(pl.when(text.str.contains(HEDGE)).then(text)).list.len().fill_null(1),
            )
            .with_columns(per_sentence=ratio(pl.col("hedges"), pl.max_horizontal(pl.col("sentences"), 1)))
            .select(
                (1.0 - ratio(pl.col("per_sentence"), self.max_per_sentence)).clip(0.0, 1.0).alias("score"),
                "hedges",
                "per_sentence",
            )
        )
