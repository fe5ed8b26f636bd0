"""How likely a vision-language model finds each sentence of a caption as its own description of the image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from filters.asking.questions import Question, VlmFilter
from filters.contract.answers import AnswerRow, values_of
from filters.contract.sentence_columns import SENTENCES
from filters.wording.sentences import by_sentence, judged, sentences

PROMPT = "Describe the image in detail."


class CaptionLikelihood(VlmFilter):
    """How likely a vision-language model finds each sentence of the caption as its own description of the image.

    **Finds** what another captioner would not have written: it reads the caption as its reply to `prompt`, and a word that
    the image does not call for is unlikely (VisualGPTScore, arXiv 2306.01879). By the captioner itself it says what
    `token_confidence` says, for captions from elsewhere too; by another model it is a second witness.

    **Scores** the geometric mean of the probabilities of a sentence's tokens, or with `tokens: min` the least of them; the
    caption has its least sentence (`aggregate: min`) or the mean. `sentences` has each one's place and score. No score where
    the text is null or has no sentence, or where an answer is missing (`reason`). One prefill a caption, no generated token.

    **Defaults.** No threshold: it depends on the judge and on how captions are worded. Calibrate, or keep the best share.

    **Example.** A sentence whose tokens the judge gives 0.9, 0.9 and 0.1 scores 0.433, with `tokens: min` 0.1.
    """

    name: ClassVar[str] = "caption_likelihood"
    version: ClassVar[int] = 2
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "sentences": SENTENCES,
        "mean": pl.Float64(),
        "reason": pl.String(),
    }

    prompt: str = Field(PROMPT, description="The text that the caption is read as the reply to.")
    tokens: Literal["mean", "min"] = Field("min", description="What a sentence takes of its tokens.")
    aggregate: Literal["min", "mean"] = Field("min", description="How the sentences' scores make the caption's.")

    def ask(self, text: str) -> list[Question]:
        return [Question(text, prompt=self.prompt)] if sentences(text) else []

    def judge_row(self, text: str, answers: Mapping[str, AnswerRow]) -> dict[str, Any]:
        if not (asked := self.ask(text)):
            return {"reason": "no sentence"}
        answer = answers[asked[0].id]
        if answer["problem"] is not None:
            return {"reason": answer["problem"]}
        return judged_by_tokens(text, answer["ends"], values_of(answer), self.tokens, self.aggregate, _probability)


def judged_by_tokens(
    text: str,
    ends: Sequence[int] | None,
    values: Sequence[float],
    tokens: Literal["mean", "min"],
    aggregate: Literal["min", "mean"],
    scored: Any,
) -> dict[str, Any]:
    """`score`, `sentences` and `mean` of a text from a value for each of its tokens; a token belongs to the sentence that it
    ends in.
    """
    found = sentences(text)
    scores: list[float | None] = []
    for part in by_sentence(found, ends or (), values):
        scores.append(scored(min(part) if tokens == "min" else sum(part) / len(part)) if part else None)
    sure = [score for score in scores if score is not None]
    if not sure:
        return {"reason": "no token of a sentence"}
    mean = sum(sure) / len(sure)
    return {"score": min(sure) if aggregate == "min" else mean, "sentences": judged(found, scores), "mean": mean}


def _probability(logprob: float) -> float:
    return math.exp(min(0.0, logprob))
