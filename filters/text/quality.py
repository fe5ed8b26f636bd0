"""Captions unlike the good ones that a classifier was shown."""

from typing import ClassVar, Final

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter, FilterError
from filters.models import fasttext_model

GOOD: Final = "good"
BAD: Final = "bad"
MAX_CHARS: Final = 10_000
"""Characters that are looked at, to bound the time for one caption."""
_MARK: Final = r"[^\s\p{L}\p{M}\p{N}]"


class Quality(Filter):
    """How much a caption looks like the good ones that a classifier was trained on.

    **Finds** what your own examples of bad captions have in common: words and pairs of words, as DCLM's fastText
    classifier does for web pages (arXiv 2406.11794, section 4.4). DCLM's own model is for web pages; train one on captions
    with `filters.train_quality`, or `factory train-quality --good GOOD --bad BAD`.

    **Scores** the probability of the label "good". Null text has no score; the first 10,000 characters are judged.

    **Defaults.** None: the model is required, and its threshold is yours. `train_quality` reports how well the model
    tells captions that it has not seen; DCLM keeps the best tenth, and dropping the worst twentieth is a careful start.

    **Example.** With a model trained on sentences against key words, "dog beach sun 4k hd" scores near 0.
    """

    name: ClassVar[str] = "quality"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)

    model: str = Field(description="Path of a model made by train_quality.")

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        texts = self.inputs(captions)["text"]
        if texts.null_count() == texts.len():
            return pl.DataFrame({"score": pl.Series([None] * texts.len(), dtype=pl.Float64)})
        model = load_quality(self.model, self.name)
        good = probability_good(model, texts.fill_null(""))
        return pl.DataFrame({"score": good, "text": texts}).select(
            pl.when(pl.col("text").is_not_null()).then("score").alias("score")
        )

    def models(self) -> dict[str, str]:
        return {"model": fasttext_model.sha256(self.model)}


def load_quality(path: str, asked_by: str) -> fasttext_model.FastText:
    """The model at `path`. Raises FilterError where it is no caption quality model."""
    model = fasttext_model.load(path, asked_by)
    if set(model.labels) != {GOOD, BAD}:
        raise FilterError(
            f"{asked_by}: the labels of {path!r} are {', '.join(sorted(model.labels)[:8])}, not {GOOD!r} and {BAD!r}: it is "
            f"no caption quality model. Make one with filters.train_quality, or factory train-quality."
        )
    return model


def probability_good(model: fasttext_model.FastText, texts: pl.Series) -> pl.Series:
    """The probability of the label "good" of each text, none of them null."""
    probability = pl.col("probability")
    good = pl.when(pl.col("label") == GOOD).then(probability).otherwise(1.0 - probability)
    return model.likeliest(tokens(texts), 1).select(good).to_series()


def tokens(texts: pl.Series) -> pl.Series:
    """Words and punctuation marks in lower case with spaces between: what the classifier is trained on and sees.

    So sets that differ in case or in spaces before full stops, as sets from different tools do, are not told apart by that.
    """
    spaced = texts.str.slice(0, MAX_CHARS).str.to_lowercase().str.replace_all(_MARK, " $0 ")
    return spaced.str.replace_all(r"\s+", " ").str.strip_chars()
