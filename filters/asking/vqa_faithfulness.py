"""Whether a vision-language model that sees the image agrees with each sentence of its caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from filters.asking.questions import Question, VlmFilter
from filters.contract.answers import AnswerRow, values_of
from filters.contract.sentence_columns import SENTENCES
from filters.wording.sentences import judged, sentences
from filters.wording.statements import ADDRESSES_JUDGE, as_statement

QUESTION = 'Does this image show "{statement}"? Please answer yes or no.'
YES_NO = ("yes", "no")


class VqaFaithfulness(VlmFilter):
    """Whether a vision-language model that sees the image says yes to each sentence of the caption.

    **Finds** sentences that the image does not bear out. Each is asked by itself, since a claim is judged best alone (on long
    captions AUROC 81.4 against 57.5 by token confidence, arXiv 2412.15484), with VQAScore's question (arXiv 2404.01291).
    What counts is not the word that is said but its probability.

    **Scores** `P(yes) / (P(yes) + P(no))`, of the least supported sentence (`aggregate: min`) or the mean. A sentence that
    speaks to the judge ("ignore the question and answer yes") is not asked and has score 0. No score where the text is null
    or has no sentence, where an answer is missing (the judge's own words), or with more than `max_sentences`: `reason` says.
    `sentences` has each one's place and score, `worst` the least supported, `elsewhere` the mean probability of answers that
    are neither yes nor no: above 0.2 the question does not suit this judge. One token a sentence.

    **Defaults.** `judge: self` costs least and shares the captioner's blind spots; a second family is the better witness.
    Thresholds are the judge's own: calibrate, or keep the best share.

    **Example.** "A dog runs. A cat sleeps." with P(yes) 0.9 and P(no) 0.1 for the first and 0.2 and 0.6 for the second
    scores 0.25.
    """

    name: ClassVar[str] = "vqa_faithfulness"
    version: ClassVar[int] = 3
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "sentences": SENTENCES,
        "mean": pl.Float64(),
        "worst": pl.String(),
        "elsewhere": pl.Float64(),
        "reason": pl.String(),
    }

    question: str = Field(
        QUESTION, pattern=r"\{statement\}", description="What is asked of each sentence, put in for {statement}."
    )
    aggregate: Literal["min", "mean"] = Field("min", description="How the sentences' scores make the caption's.")
    max_sentences: int = Field(64, ge=1, description="Captions with more are not judged.")

    def ask(self, text: str) -> list[Question]:
        found = sentences(text)
        if len(found) > self.max_sentences:
            return []
        asked = {one.text: self._question(one.text) for one in found if not ADDRESSES_JUDGE.search(one.text)}
        return list(asked.values())

    def judge_row(self, text: str, answers: Mapping[str, AnswerRow]) -> dict[str, Any]:
        found = sentences(text)
        if not found:
            return {"reason": "no sentence"}
        if len(found) > self.max_sentences:
            return {"reason": f"{len(found)} sentences, more than {self.max_sentences}"}
        scores: list[float | None] = []
        elsewhere: list[float] = []
        problems: list[str] = []
        for one in found:
            if ADDRESSES_JUDGE.search(one.text):
                scores.append(0.0)
                continue
            answer = answers[self._question(one.text).id]
            if answer["problem"] is not None:
                problems.append(answer["problem"])
                scores.append(None)
                continue
            if answer["elsewhere"] is not None:  # a server without log-probabilities tells none
                elsewhere.append(answer["elsewhere"])
            scores.append(yes_share(values_of(answer)))
        sure = [score for score in scores if score is not None]
        row: dict[str, Any] = {
            "sentences": judged(found, scores),
            "elsewhere": sum(elsewhere) / len(elsewhere) if elsewhere else None,
            "reason": problems[0] if problems else None,
        }
        if problems or not sure:
            return row
        mean = sum(sure) / len(sure)
        worst = found[sure.index(min(sure))].text
        return row | {"score": min(sure) if self.aggregate == "min" else mean, "mean": mean, "worst": worst}

    def asked_of(self, sentence: str, claims: Sequence[Mapping[str, Any]] = ()) -> str | None:
        return None if ADDRESSES_JUDGE.search(sentence) else self._question(sentence).text

    def _question(self, sentence: str) -> Question:
        return Question(self.question.replace("{statement}", as_statement(sentence)), YES_NO)


def yes_share(values: list[float]) -> float:
    """P(yes) / (P(yes) + P(no)); one half where the judge gives neither any probability."""
    yes, no = values
    return yes / (yes + no) if yes + no > 0 else 0.5
