"""Sentences that begin with the image instead of what it shows."""

from typing import ClassVar, Final

import polars as pl

from filters.contract.filter import Filter
from filters.wording.sentences import sentence_texts

# Neutral words only: "a painting of" and "a black and white photo of" say something about the image.
_IMAGE: Final = r"(?:image|picture|photo|photograph|scene|frame|shot|snapshot|visual)"
_THE: Final = r"(?:the|this|that)(?: (?:given|provided|first|main|whole|entire|above|attached|uploaded|displayed))?"
_WE: Final = r"(?:we|you|one)(?: can)?(?: clearly| also)? (?:see|observe|notice|spot)"
_SHOWS: Final = (
    r"(?:(?:clearly|prominently|primarily|mainly|vividly|also|further|simply|beautifully) ){0,2}"
    r"(?:shows?|depicts?|features?|displays?|presents?|captures?|portrays?|showcases?|illustrates?|contains?|includes?"
    r"|consists? of|is (?:comprised|composed) of|reveals?|highlights?|provides (?:a|an) (?:view|close-up|look|glimpse) of|is of)"
)
OPENER: Final = (
    r"(?i)(?:"
    rf"(?:in|within|throughout) {_THE} {_IMAGE},? {_WE}(?-u:\b)(?: that)?"
    rf"|(?:in|within|throughout) {_THE} {_IMAGE}(?-u:\b),?"
    rf"|{_THE} {_IMAGE} {_SHOWS}(?-u:\b)(?: that)?"
    rf"|(?:this|it|here) is an? {_IMAGE} (?:of|that shows|which shows|showing|depicting|featuring|displaying|capturing)(?-u:\b)"
    rf"|(?:the|this) {_IMAGE} is an? {_IMAGE} (?:of|showing|depicting|featuring)(?-u:\b)"
    rf"|an? {_IMAGE} (?:of|that shows|showing|depicting|featuring|displaying|capturing)(?-u:\b)"
    rf"|(?:here,? )?{_WE}(?-u:\b)(?: in {_THE} {_IMAGE})?,?(?: that)?"
    rf"|(?:pictured|shown|seen|depicted|visible)(?: here| in {_THE} {_IMAGE})? (?:is|are)(?-u:\b)"
    r"|(?:this|it) (?:shows|depicts)(?-u:\b)"
    r")"
)
"""An opener, wherever it stands; to be anchored to the start of a sentence."""
AT_START: Final = rf"\A[\s\"“]*{OPENER}"


class Opener(Filter):
    """How many of a caption's sentences begin with the image instead of what it shows.

    **Finds** meta openers: "The image shows", "In this picture, we can see", "This is a photo of", "A picture of"; in
    English. Words that tell something ("a painting of", "a black and white photo of") are none. `sentences` is how many
    sentences begin so, `opener` the opener of the first sentence, if it has one.

    **Scores** the share of the other sentences: 1 has none, 0 has them all. Empty text scores 1, null text has no score.

    **Defaults.** No parameters and no threshold: nearly all captions of some captioners begin so (here: 90 % of 2,000 by
    LLaVA for a brief description, POPE's repository; 0.3 % of the human ones of Conceptual Captions), and nothing is
    wrong with them but the words. Report the rate, and take the opener off with `filters.text.rewrites.strip_opener`.

    **Example.** "The image shows a dog. It runs." scores 0.5.
    """

    name: ClassVar[str] = "opener"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("text",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"sentences": pl.UInt32(), "opener": pl.String()}

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        rows = self.inputs(captions).with_row_index("row")
        sentence = pl.col("sentence")
        counts = (
            rows.filter(pl.col("text").str.contains(OPENER))
            .select("row", sentence=sentence_texts(pl.col("text")))
            .explode("sentence", empty_as_null=False)
            .filter(sentence.str.contains(r"\w"))
            .group_by("row", maintain_order=True)
            .agg(
                sentences=sentence.str.contains(AT_START).sum().cast(pl.UInt32),
                all=pl.len(),
                opener=sentence.first().str.extract(AT_START, 0).str.strip_chars(' \t\r\n"“,'),
            )
        )
        judged = pl.col("text").is_not_null()
        return rows.join(counts, on="row", how="left", maintain_order="left").select(
            score=pl.when(judged).then((1.0 - pl.col("sentences") / pl.col("all")).fill_null(1.0)),
            sentences=pl.when(judged).then(pl.col("sentences").fill_null(0)),
            opener="opener",
        )
