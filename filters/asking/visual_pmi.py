"""How much more likely the image makes each sentence of its caption."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from filters.asking.caption_likelihood import PROMPT, judged_by_tokens
from filters.asking.questions import Question, VlmFilter
from filters.contract.answers import AnswerRow, values_of
from filters.contract.sentence_columns import SENTENCES
from filters.wording.sentences import sentences


class VisualPmi(VlmFilter):
    """How much more likely the image makes each sentence of its caption, by two readings of it.

    **Finds** text that does not come from the image: boilerplate, leaked prompts, what a language model says anyway. The
    judge reads the caption as its own reply to `prompt`, once with the image and once without; a sentence is as good as
    its tokens' mean gain in log-probability (visual PMI, arXiv 2306.01879).

    **Scores** `sigmoid(gain)` of the least sentence (`aggregate: min`) or the mean. A sentence takes its least token instead
    of their mean with `tokens: min`. `sentences` has each one's place and score. No score where the text is null or has no
    sentence, or where an answer is missing (`reason`). Two prefills a caption, no generated token.

    **Defaults.** No threshold. As a detector of single wrong words it is weak (AUROC 0.39 to 0.70 on the own errors of a small
    captioner, where token confidence had 0.83): it rewards the rare word.

    **Example.** Tokens with log-probabilities of -0.1 with the image and -2.1 without have a gain of 2 and score 0.881.
    """

    name: ClassVar[str] = "visual_pmi"
    version: ClassVar[int] = 2
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "sentences": SENTENCES,
        "mean": pl.Float64(),
        "reason": pl.String(),
    }

    prompt: str = Field(PROMPT, description="The text that the caption is read as the reply to.")
    tokens: Literal["mean", "min"] = Field("mean", description="What a sentence takes of its tokens.")
    aggregate: Literal["min", "mean"] = Field("min", description="How the sentences' scores make the caption's.")

    def ask(self, text: str) -> list[Question]:
        if not sentences(text):
            return []
        return [Question(text, prompt=self.prompt), Question(text, prompt=self.prompt, sees="nothing")]

    def judge_row(self, text: str, answers: Mapping[str, AnswerRow]) -> dict[str, Any]:
        if not (asked := self.ask(text)):
            return {"reason": "no sentence"}
        seen, blind = (answers[question.id] for question in asked)
        problem = seen["problem"] or blind["problem"]
        if problem:
            return {"reason": problem}
        values = [a - b for a, b in zip(values_of(seen), values_of(blind), strict=True)]
        return judged_by_tokens(text, seen["ends"], values, self.tokens, self.aggregate, _sigmoid)


def _sigmoid(gain: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(60.0, max(-60.0, gain))))
