"""Answers of an assistant that will not or cannot caption."""

from typing import ClassVar, Final

import polars as pl

from filters.contract.filter import Filter
from filters.text.refusing import BESIDE, QUOTED, SELF, may_refuse, moralizes, refuses
from filters.wording.sentences import sentence_texts

_WHOLLY_QUOTED: Final = r"\A\s*[\"“]([^\"“”]*)[\"”]?\s*\z"


class Refusal(Filter):
    """Whether a caption is, or contains, an assistant's refusal.

    **Finds** first-person inability or unwillingness ("I'm sorry, but I can't assist with ...", "I cannot provide ..."),
    judgements of the request ("It is not appropriate to suggest ..."), declining, appeals to a policy, complaints that no
    image came, and an assistant that speaks of itself ("As an AI language model, ..."); in English, and the commonest of them
    in German, French, Spanish, Italian, Portuguese, Dutch, Russian, Chinese, Japanese and Korean. What a shirt or a sign says, in
    quotation marks or after a word like "says", does not count; nor does an apology alone. `sentences` is how many
    sentences refuse, `span` the first of them.

    **Scores** 0 where the first sentence refuses: then the caption is a refusal, whatever follows. Elsewhere it is the
    share of the text, by characters, outside refusing sentences, so a threshold of 1 allows none, and 0.5 allows as
    much refusal as caption; half of that share where an assistant speaks of itself, so that 0.5 allows no such sentence. A
    sentence that only makes sense beside a refusal ("Thank you for asking.", "Please upload an image.") counts with it.
    Null text has no score.

    **Defaults.** No parameters. Built from the grammar of refusing, with an eye on the answers of two models that people
    labelled in XSTest (Röttger et al. 2024), so its rates on those (docs/filters.md) are not those on answers it never saw.

    **Example.** "A man on a bench. As an AI language model, I cannot identify him." scores 0.13.
    """

    name: ClassVar[str] = "refusal"
    version: ClassVar[int] = 3
    needs: ClassVar[tuple[str, ...]] = ("text",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"sentences": pl.UInt32(), "span": pl.String()}

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        rows = self.inputs(captions).with_row_index("row")
        judged = pl.col("text").is_not_null()
        return rows.join(_refusals(rows), on="row", how="left", maintain_order="left").select(
            score=pl.when(judged).then(pl.col("score").fill_null(1.0)),
            sentences=pl.when(judged).then(pl.col("sentences").fill_null(0)),
            span="span",
        )


def _refusals(rows: pl.DataFrame) -> pl.DataFrame:
    """`row`, `score`, `sentences` and `span` of the captions that refuse outside quotation marks."""
    # A quick look at all captions finds the few that may refuse; sentences and quotations are looked at in those.
    text = pl.col("text")
    suspects = rows.filter(may_refuse(text)).filter(refuses(text) | moralizes(text))
    if suspects.is_empty():
        return pl.DataFrame(schema={"row": pl.UInt32, "score": pl.Float64, **Refusal.evidence})
    sentence = pl.col("sentence")
    unquoted = text.str.replace(_WHOLLY_QUOTED, "$1").str.replace_all(QUOTED, '$1$2""$3$4$5')
    sentences = (
        suspects.select("row", sentence=sentence_texts(unquoted, marks=False))
        .explode("sentence", empty_as_null=False)
        .with_columns(sentence.str.strip_chars())
        .filter(sentence.str.len_chars() > 0)
        .with_columns(refuses=refuses(sentence))
        .with_columns(pl.col("refuses") | (moralizes(sentence) & pl.col("row").is_first_distinct()))
        .filter(pl.col("refuses").any().over("row"))
        .with_columns(
            refuses=pl.col("refuses") | sentence.str.contains(BESIDE),
            itself=sentence.str.contains(SELF),
        )
    )
    refuse, chars = pl.col("refuses"), sentence.str.len_chars()
    standing = (chars.sum() - chars.filter(refuse).sum()) / chars.sum()
    return sentences.group_by("row", maintain_order=True).agg(
        score=pl.when(refuse.first())
        .then(0.0)
        .otherwise(standing / pl.when(pl.col("itself").any()).then(2.0).otherwise(1.0)),
        sentences=refuse.sum().cast(pl.UInt32),
        span=sentence.filter(refuse).first(),
    )
