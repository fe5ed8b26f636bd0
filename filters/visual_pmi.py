"""How much more likely the image makes each sentence of its caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from filters.questions import Question, VlmFilter
from filters.sentences import SENTENCES, Sentence, judged, sentences

PROMPT = "Describe the image in detail."


class VisualPmi(VlmFilter):
    """How much more likely the image makes each sentence of its caption, by two readings of it.

    **Finds** text that does not come from the image: boilerplate, leaked prompts, what a language model says anyway. The
    judge reads the caption as its own reply to `prompt`, once with the image and once without; a sentence is as good as
    its tokens' mean gain in log-probability (visual PMI, arXiv 2306.01879), or with `use: likelihood` as the mean
    log-probability with the image alone (VisualGPTScore).

    **Scores** `sigmoid(gain)` of the least sentence (`aggregate: min`) or the mean; with `use: likelihood` `exp` of the
    log-probability. A sentence takes its least token instead of their mean with `tokens: min`. `sentences` has each one's
    place and score. No score where the text is null or has no sentence, or where an answer is missing (`reason`). Two
    prefills a caption, no generated token; with `use: likelihood` one.

    **Defaults.** No threshold. As a detector of single wrong words it is weak (AUROC 0.39 to 0.70 on the own errors of a small
    captioner, where token confidence had 0.83): it rewards the rare word. By another judge than the captioner
    `likelihood` is a second opinion.

    **Example.** Tokens with log-probabilities of -0.1 with the image and -2.1 without have a gain of 2 and score 0.881.
    """

    name: ClassVar[str] = "visual_pmi"
    version: ClassVar[int] = 1
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "sentences": SENTENCES,
        "mean": pl.Float64(),
        "reason": pl.String(),
    }

    prompt: str = Field(PROMPT, description="The text that the caption is read as the reply to.")
    use: Literal["gain", "likelihood"] = Field("gain", description="Against a reading without the image, or alone.")
    tokens: Literal["mean", "min"] = Field("mean", description="What a sentence takes of its tokens.")
    aggregate: Literal["min", "mean"] = Field("min", description="How the sentences' scores make the caption's.")

    def ask(self, text: str) -> list[Question]:
        if not sentences(text):
            return []
        seen = Question(text, prompt=self.prompt)
        return [seen] if self.use == "likelihood" else [seen, Question(text, prompt=self.prompt, sees="nothing")]

    def judge_row(self, text: str, answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
        given = [answers[question.id] for question in self.ask(text)]
        problems = [answer["problem"] for answer in given if answer["problem"] is not None]
        if problems:
            return {"reason": problems[0]}
        seen = given[0]
        values = list(seen["values"])
        if self.use == "gain":
            values = [a - b for a, b in zip(values, given[1]["values"], strict=True)]
        found = sentences(text)
        scores = [self._scored(part) for part in _by_sentence(found, seen["ends"], values)]
        sure = [score for score in scores if score is not None]
        if not sure:
            return {"reason": "no token of a sentence"}
        mean = sum(sure) / len(sure)
        return {
            "score": min(sure) if self.aggregate == "min" else mean,
            "sentences": judged(found, scores),
            "mean": mean,
        }

    def _scored(self, values: Sequence[float]) -> float | None:
        if not values:
            return None
        value = min(values) if self.tokens == "min" else sum(values) / len(values)
        if self.use == "likelihood":
            return math.exp(min(0.0, value))
        return 1.0 / (1.0 + math.exp(-min(60.0, max(-60.0, value))))


def _by_sentence(found: Sequence[Sentence], ends: Sequence[int], values: Sequence[float]) -> list[list[float]]:
    """The values of each sentence's tokens; a token belongs to the sentence that it ends in."""
    parts: list[list[float]] = [[] for _ in found]
    place = 0
    for end, value in zip(ends, values, strict=True):
        while place < len(found) and end > found[place].end:
            place += 1
        if place < len(found) and end > found[place].start:
            parts[place].append(value)
    return parts
