"""Captions that loop or say the same thing twice."""

from typing import ClassVar, Final

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter
from filters.contract.ratio import ratio
from filters.wording.sentences import sentence_texts
from filters.wording.words import WORD, ngram, word_table

N: Final = 4
"""Words to an n-gram, and to a sentence: shorter ones are often initials or abbreviations ("J. J. Abrams")."""
_EDGES: Final = " \t\r\"“”'‘’()[]*_-–—:,;"


class Repetition(Filter):
    """How much of a caption repeats what it has already said.

    **Finds** loops, sentences said twice, and captions followed by their own restatement.

    **Scores** `1 - max(duplicate_4grams / max_duplicate_4grams, duplicate_sentences / max_duplicate_sentences)`, not
    below 0. `duplicate_4grams` is the share of the characters of all words that lie in a run of four words seen before
    in the caption; `duplicate_sentences` the share of sentences (of at least four words) seen before. Case and
    punctuation do not matter. So 0 means at or past a limit: any threshold above 0 applies the published rule, 0.7
    allows three tenths of it, and 1 no repetition at all. Empty text scores 1; null text has no score. Repeated
    symbols, or a word that never ends, are not seen.

    **Defaults.** 0.3 and 0.2 flagged 0.01 to 0.02 % of 40,300 short captions (Multi30k, Conceptual Captions,
    CapsFusion) and none of 1,400 dense ones by people (IIW, DOCCI), where Gopher's repetition rules flag over half of
    the short ones. Of the 15,833 human captions of Conceptual Captions' validation set this filter gives none a 0, and
    3 (0.02 %) less than 0.7; of 2,000 short captions by MiniGPT-4 (POPE's repository), 4.1 % and 7.2 %. A short caption
    needs little to fall below 0.7: "1st base is to the left and 3rd base is to the right" scores 0.08.

    **Example.** "A red bus. A red bus stops here. A red bus stops here." scores 0.
    """

    name: ClassVar[str] = "repetition"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("text",)
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "duplicate_4grams": pl.Float64(),
        "duplicate_sentences": pl.Float64(),
    }

    max_duplicate_4grams: float = Field(
        0.3,
        gt=0,
        le=1,
        description="Share of the words' characters, in (0, 1], at which the score is 0 (measured, see above).",
    )
    max_duplicate_sentences: float = Field(
        0.2, gt=0, le=1, description="Share of the sentences, in (0, 1], at which the score is 0 (measured, see above)."
    )

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        rows = self.inputs(captions).with_row_index("row")
        judged = pl.col("text").is_not_null()
        shares = rows.join(_duplicates(rows), on="row", how="left", maintain_order="left").select(
            pl.when(judged).then(pl.col(share).fill_null(0.0)).alias(share) for share in self.evidence
        )
        excess = pl.max_horizontal(
            ratio(pl.col("duplicate_4grams"), self.max_duplicate_4grams),
            ratio(pl.col("duplicate_sentences"), self.max_duplicate_sentences),
        )
        return shares.select((1.0 - excess).clip(0.0, 1.0).alias("score"), *self.evidence)


def _duplicates(rows: pl.DataFrame) -> pl.DataFrame:
    """`row`, `duplicate_4grams` and `duplicate_sentences` of the captions that repeat a 4-gram."""
    words = word_table(rows).with_columns(gram=ngram(N))
    # Few captions repeat anything, and one that repeats a sentence repeats a 4-gram: only those need their shares.
    repeats = pl.col("gram").drop_nulls().n_unique() < pl.col("gram").count()
    repeating = words.group_by("row").agg(repeats=repeats).filter("repeats")
    if repeating.is_empty():
        return pl.DataFrame(schema={"row": pl.UInt32, **Repetition.evidence})
    again = rows.join(repeating, on="row", how="semi")
    return _duplicate_4grams(words.join(repeating, on="row", how="semi", maintain_order="left")).join(
        _duplicate_sentences(again), on="row", how="left"
    )


def _duplicate_4grams(words: pl.DataFrame) -> pl.DataFrame:
    """`row` and the share of its words' characters inside 4-grams seen before."""
    again = pl.col("gram").is_not_null() & ~pl.struct("row", "gram").is_first_distinct()
    inside = pl.any_horizontal(pl.col("again").shift(back, fill_value=False) for back in range(N))
    chars = pl.col("word").str.len_chars()
    return (
        words.with_columns(again=again)
        .with_columns(inside=inside)
        .group_by("row")
        .agg(duplicate_4grams=chars.filter("inside").sum() / chars.sum())
    )


def _duplicate_sentences(rows: pl.DataFrame) -> pl.DataFrame:
    """`row` and the share of its sentences that it has said before."""
    again = ~pl.struct("row", "sentence").is_first_distinct()
    return (
        rows.select(
            "row", sentence=sentence_texts(pl.col("text"), marks=False).list.eval(pl.element().str.to_lowercase())
        )
        .explode("sentence", empty_as_null=False)
        .with_columns(pl.col("sentence").str.strip_chars(_EDGES))
        .filter(pl.col("sentence").str.count_matches(WORD) >= N)
        .with_columns(again=again)
        .group_by("row")
        .agg(duplicate_sentences=pl.col("again").mean())
    )
