"""Captions that stop before they end."""

from typing import ClassVar, Final

import polars as pl

from filters.contract.filter import Filter
from filters.wording.sentences import text_ends_sentence

CUT: Final = ("length", "max_tokens", "model_length", "abort", "error", "repetition", "content_filter")
"""Finish reasons, in lower case, of a captioner that had not finished: vLLM's and OpenAI-compatible servers'."""


class Truncation(Filter):
    """Whether the captioner was stopped before it had finished.

    **Finds** captions cut at the token limit, aborted, or stopped by the engine.

    **Scores** 0 where the finish reason is one of "length", "max_tokens", "model_length", "abort", "error",
    "repetition" and "content_filter", 1 for any other. Without a finish reason the token counts decide: 0 where
    `output_tokens` has reached `max_tokens`, 1 where it has not. Without either there is no score: captions that
    nobody generated were not cut by anyone, and their looks do not tell. `ends_sentence` says whether the text ends
    in a terminal punctuation mark, as evidence only: 92 % of LAION's alt-texts, 63 % of Conceptual Captions and 11 %
    of BLIP's captions lack one and are whole. Null text has no score.

    **Defaults.** None; the engine's word is exact, so there are no false positives to measure.

    **Example.** "A dog on a" with finish reason "length" scores 0.
    """

    name: ClassVar[str] = "truncation"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("text",)
    uses: ClassVar[tuple[str, ...]] = ("finish_reason", "output_tokens", "max_tokens")
    evidence: ClassVar[dict[str, pl.DataType]] = {"ends_sentence": pl.Boolean()}

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        text, reason = pl.col("text"), pl.col("finish_reason").str.to_lowercase()
        cut = pl.coalesce(reason.is_in(CUT), pl.col("output_tokens") >= pl.col("max_tokens"))
        return self.inputs(captions).select(
            score=pl.when(text.is_not_null()).then((~cut).cast(pl.Float64)),
            ends_sentence=text_ends_sentence(text),
        )
