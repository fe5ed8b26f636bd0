"""Captions in another language than the one wanted."""

from pathlib import Path
from typing import ClassVar, Final

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter, FilterError
from filters.models import fasttext_model
from filters.wording.words import WORD

UNDETERMINED: Final = "und"
"""ISO 639-3's code for a language that cannot be told."""
MAX_CHARS: Final = 400
"""Characters that are looked at: some sixty words tell the language."""
LIKELIEST: Final = 5
LEAST: Final = 0.01
"""Languages looked at, and the least probability of one: what is below counts as 0. It makes the model twice as fast."""
MODEL: Final = Path(__file__).parents[1] / "models" / "lid.176.ftz"
"""The model that comes with this package: see filters/models/README.md."""


class Language(Filter):
    """How probable it is that a caption is in the language wanted.

    **Finds** captions in other languages, by a fastText model.

    **Scores** `p / (p + q)`, where p is the probability of the languages in `expected` together and q that of the likeliest
    other one. So 0.5 and above means that none is likelier (DataComp's rule), whatever the model leaves to the 170 others.
    `language` and `probability` are the likeliest of all; languages are named as the model does, by ISO 639 codes in lid.176.
    Below `min_words` words `language` is "und" and there is no score: a name or a tag has no language. Nor has null text. A
    character of a script without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) is a word; the first 400 characters are
    judged.

    **Defaults.** English. The model is fastText's lid.176.ftz (176 languages, CC BY-SA 3.0), which comes with this package; any
    other classifier of fastText goes by path, such as lid.176.bin (fasttext.cc) or GlotLID. With lid.176.ftz, 0.4 % of the 15,833 human captions of Conceptual
    Captions' validation set score below 0.5, most of them of five to seven words ("image of a door handle" is taken for
    Dutch); a threshold of 0.65 on the plain probability, as datatrove has it for web pages, would flag 6 %.

    **Example.** "Ein Hund läuft am Strand entlang" scores 0.
    """

    name: ClassVar[str] = "language"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"language": pl.String(), "probability": pl.Float64()}

    expected: tuple[str, ...] = Field(("en",), min_length=1, description="Languages wanted, by the model's labels.")
    min_words: int = Field(4, ge=1, description='Fewest words to judge; "und" below (short names mislead any model).')
    model: str | None = Field(None, description="Path of a fastText model; null for lid.176.ftz.")

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
        """Of the model file."""
        return self.model or str(MODEL)

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
        return self._odds(model, rows)

    def _odds(self, model: fasttext_model.FastText, rows: pl.DataFrame) -> pl.DataFrame:
        """`row`, `language`, `probability` and `score` by the likeliest languages of each caption."""
        is_wanted, probability = pl.col("label").is_in(self.expected), pl.col("probability")
        odds = (
            model.likeliest(rows["text"], LIKELIEST, LEAST)
            .group_by("at")
            .agg(
                language=pl.col("label").first(),
                probability=probability.first(),
                p=probability.filter(is_wanted).sum(),
                q=probability.filter(~is_wanted).max().fill_null(0.0),
            )
            .with_columns(score=pl.col("p") / (pl.col("p") + pl.col("q")))
        )
        numbered = rows.select("row").with_row_index("at")
        return numbered.join(odds, on="at", how="left", maintain_order="left").drop("at", "p", "q")
