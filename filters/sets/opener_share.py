"""Sets whose captions all begin alike."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Final

import polars as pl
from pydantic import Field

from filters.contract.filter import SetFilter
from filters.contract.ratio import ratio
from filters.sets.spill import Spill, part_of
from filters.wording.words import WORD

WORDS: Final = 4
"""Words to an opener."""
_LOOKED_AT: Final = 160  # characters of a caption in which its first words are looked for
_RARE: Final = 1e-4  # share of the captions below which an opener is not looked up


def openers(texts: pl.Series) -> pl.Series:
    """The first four words of each, in lower case; null where there are fewer (within 160 characters)."""
    words = texts.str.slice(0, _LOOKED_AT).str.to_lowercase().str.extract_all(WORD).list.head(WORDS)
    return words.set(words.list.len() < WORDS, None).list.join(" ").alias("opener")


class OpenerShare(SetFilter):
    """How many captions of the set begin with the same four words.

    **Finds** templates: sets in which a captioner begins every other caption with the same words, whatever they are
    (`opener` knows those that only name the image). `opener` is the caption's first four words, `share` the share of the
    other captions that begin with them, 0 where that is below 0.0001. Only captions with four words count.

    **Scores** `1 - (share - allowed) / (1 - allowed)`, and 1 up to `allowed`: 0 where all begin alike. All captions with an
    opener score the same: it says how much of a template they are, and a budget for each opener has to be made elsewhere.
    Fewer than four words (in the first 160 characters), and null text, have no score.

    **Defaults.** A tenth of the set. Of the openers of 15,833 human captions of Conceptual Captions' validation set the
    commonest has a share of 1 %, as has that of 2,000 by InstructBLIP; those of MiniGPT-4 and LLaVA have 15 and 37 % (POPE's
    repository). In a set of a few captions shares mean little.

    **Takes** on disk 16 bytes for each opener of a batch, in memory some 100 MB.

    **Example.** With `allowed: 0`, of "the image shows a dog", "the image shows a cat" and "two men on a boat" the first two
    score 0.5.
    """

    name: ClassVar[str] = "opener_share"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"opener": pl.String(), "share": pl.Float64()}

    allowed: float = Field(
        0.1, ge=0, lt=1, description="Share of the other captions, in [0, 1), that may begin so at no cost (see above)."
    )

    def score_set(self, batches: Callable[[], Iterator[pl.DataFrame]], scratch: Path) -> Iterator[pl.DataFrame]:
        common = self._common(batches, scratch)
        for batch in batches():
            shares = (
                openers(self.inputs(batch)["text"])
                .to_frame()
                .join(common, on="opener", how="left", maintain_order="left")
            )
            judged, share = pl.col("opener").is_not_null(), pl.col("share").fill_null(0.0)
            over = ratio((share - self.allowed).clip(0.0), 1.0 - self.allowed)
            yield shares.select(
                score=pl.when(judged).then((1.0 - over).clip(0.0, 1.0)),
                opener="opener",
                share=pl.when(judged).then(share),
            )

    def _common(self, batches: Callable[[], Iterator[pl.DataFrame]], scratch: Path) -> pl.DataFrame:
        """`opener` and `share` of those that are not rare."""
        total, counted = 0, Spill(scratch / "openers")
        for batch in batches():
            found = openers(self.inputs(batch)["text"]).drop_nulls()
            total += len(found)
            counts = found.to_frame().group_by("opener").agg(count=pl.len().cast(pl.UInt64))
            counted.add(counts.with_columns(part=part_of(pl.col("opener").hash())))
        share = ratio(pl.col("count") - 1, max(1, total - 1))
        kept = [
            counts.group_by("opener")
            .agg(pl.col("count").sum())
            .select("opener", share=share)
            .filter(pl.col("share") >= _RARE)
            for counts in counted.parts()
        ]
        return pl.concat(kept) if kept else pl.DataFrame(schema={"opener": pl.String, "share": pl.Float64})
