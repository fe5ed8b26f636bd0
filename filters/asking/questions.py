"""Filters that need a vision-language model: they ask, whoever owns an engine answers, and they turn answers into scores.

A question is about one image. Its answer comes back in the column `answers` of the captions (`filters/contract/answers.py`), found
by the question's `id`. So a filter holds no engine, and the same answer serves every filter that asks the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Final, Literal

import polars as pl
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from filters.asking.server import HOW_NOT_WHAT, Server
from filters.contract.answers import AnswerRow
from filters.contract.filter import Filter

SELF: Final = "self"


class Endpoint(Server):
    """A server whose model answers questions."""

    model: str = Field(
        validation_alias=AliasChoices("model", "name"), description="The name by which the server knows the model."
    )
    timeout_s: float = Field(600.0, gt=0, description="Longest time one request may take, in seconds.")
    chat_template: dict[str, Any] = Field(
        default_factory=dict,
        exclude_if=lambda value: not value,
        description="Arguments of the model's chat template, such as {enable_thinking: false}.",
    )

    @property
    def served_name(self) -> str:
        """The name by which the server knows the model."""
        return self.model


class JudgeModel(BaseModel):
    """A model that the factory serves to answer questions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="Hub id, local directory, or demo:NAME.")
    revision: str | None = Field(None, description="Commit, tag or branch of a Hub id.")
    engine: dict[str, Any] = Field(default_factory=dict, description="Arguments passed through to vLLM's engine.")
    max_pixels: int | None = Field(None, ge=1, description="Pixels sent to it at most; unset: as for views.")
    chat_template: dict[str, Any] = Field(
        default_factory=dict,
        exclude_if=lambda value: not value,
        description="Arguments of the model's chat template, such as {enable_thinking: false}.",
    )
    reasoning: str = Field(
        "auto",
        exclude_if=lambda value: value == "auto",
        description="How its reasoning is told from its answer: auto, none, or as in a view.",
    )
    trust_remote_code: bool = Field(False, description="Run code that comes with the model. Dangerous.")


@dataclass(frozen=True)
class Question:
    """What is asked about one image.

    `choice`: `text` is sent as the user's prompt; the answer is the probability of each of the `allowed` words as the
    first thing said. `text`: the model is prompted with `prompt` and the answer is the natural log-probability of each
    token of `text` as its reply. `open`: `text` is sent as the user's prompt; the answer is what is `said`, the likeliest
    token each time, up to `max_tokens`. `sees`: the image, or nothing (the prompt alone).
    """

    text: str
    allowed: tuple[str, ...] = ()
    prompt: str = ""
    sees: Literal["image", "nothing"] = "image"
    asked_by: str = field(default="", compare=False)
    """The filter that asks, to account for it; no part of the question."""
    max_tokens: int = 0
    """Of an open question, and of no other."""

    @property
    def kind(self) -> Literal["choice", "text", "open"]:
        """What its answer is."""
        if self.max_tokens:
            return "open"
        return "choice" if self.allowed else "text"

    @cached_property
    def id(self) -> str:
        """16 hex digits of everything it asks; the same for the same question about any image."""
        asked = [self.text, self.allowed, self.prompt, self.sees]
        content = json.dumps([*asked, self.max_tokens] if self.max_tokens else asked, ensure_ascii=False)
        return hashlib.blake2b(content.encode("utf-8", errors="replace"), digest_size=8).hexdigest()


class VlmFilter(Filter):
    """A filter that asks a vision-language model about each caption.

    A new one has `ask` and `judge_row` instead of `score`. Its answers come in the column `answers`.
    """

    needs: ClassVar[tuple[str, ...]] = ("text", "answers")
    uses: ClassVar[tuple[str, ...]] = ("others",)
    scores_regardless_of: ClassVar[dict[str, set[str]]] = {"judge": {*HOW_NOT_WHAT}}

    judge: str | Endpoint | JudgeModel = Field(
        SELF,
        description="Who answers: self (the captioner, while it has the image), a model as in a view (its name, or {model: "
        "NAME, revision: ..., engine: {...}, max_pixels: ...}), or {endpoint: URL, model: NAME} of a server with the OpenAI API.",
    )
    when: str | None = Field(
        None,
        pattern=r"^\s*[a-z_]+\s+(below\s+[0-9.]+|above\s+[0-9.]+|between\s+[0-9.]+\s+and\s+[0-9.]+)\s*$",
        description="Ask only about captions for which this holds of a filter before it, such as "
        "'vqa_faithfulness between 0.2 and 0.6'; the others get no score.",
    )

    @abstractmethod
    def ask(self, text: str) -> list[Question]:
        """What is asked about a caption, each question once; [] where there is nothing to ask. Pure."""

    @abstractmethod
    def judge_row(self, text: str, answers: Mapping[str, AnswerRow]) -> dict[str, Any]:
        """The score and the evidence of one caption, from the answers to its questions, by id.

        Every question of `ask(text)` is in `answers`; one with a `problem` has no values. Where there is nothing to ask, it
        gives the reason, or the score that needs no answer.
        """

    def questions(self, text: str, others: Sequence[str], answers: Mapping[str, AnswerRow]) -> list[Question]:
        """What is asked about a caption beside the `others` of the same image and view, as far as the `answers` (by id) tell:
        a filter that compares captions, or asks further where an answer calls for it, overrides this. Called again with what
        was answered until nothing new is asked, so it names the questions of before too. Pure.
        """
        return self.ask(text)

    def judge_caption(self, text: str, others: Sequence[str], answers: Mapping[str, AnswerRow]) -> dict[str, Any]:
        """As `judge_row`, for a filter that compares captions."""
        return self.judge_row(text, answers)

    def unasked(self, text: str, others: Sequence[str]) -> dict[str, Any]:
        """The score and the evidence of a caption about which there is nothing to ask."""
        return self.judge_caption(text, others, {})

    def asked_of(self, sentence: str, claims: Sequence[Mapping[str, Any]] = ()) -> str | None:
        """The question about one sentence that decided its score, for people to read; None where it asks about whole captions.

        `claims`: of a filter that asks about parts of sentences, this sentence's of its evidence column `claims`, and below
        them those that failed and that they depend on.
        """
        return None

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        frame = self.inputs(captions)
        schema = {"score": pl.Float64(), **self.evidence}
        rows = [self._row(*row) for row in frame.select("text", "others", "answers").iter_rows()]
        return pl.DataFrame(rows, schema=schema, orient="row") if rows else pl.DataFrame(schema=schema)

    def _row(self, text: str | None, others: list[str] | None, answers: list[AnswerRow] | None) -> dict[str, Any]:
        empty: dict[str, Any] = dict.fromkeys(["score", *self.evidence])
        if text is None:
            return empty
        found = {answer["question"]: answer for answer in answers or ()}
        wanted = {question.id for question in self.questions(text, others or [], found)}
        if not wanted:
            return empty | self.unasked(text, others or [])
        if not wanted <= found.keys():
            return empty
        return empty | self.judge_caption(text, others or [], found)


def questions_of(
    about: Iterable[tuple[VlmFilter, str, Sequence[str]]], answers: Mapping[str, AnswerRow]
) -> list[Question]:
    """What is asked about captions of one image (filter, text, the others of its view) and not in `answers`, once each."""
    wanted: dict[str, Question] = {}
    for filter_, text, others in about:
        for question in filter_.questions(text, others, answers):
            if question.id not in answers and question.id not in wanted:
                wanted[question.id] = replace(question, asked_by=filter_.name)
    return list(wanted.values())


@dataclass(frozen=True, slots=True)
class When:
    """A condition on the score of another filter: `least` <= score < `most`."""

    filter: str
    least: float
    most: float

    @classmethod
    def parse(cls, text: str) -> When:
        """Of VlmFilter.when."""
        name, rest = text.split(None, 1)
        numbers = [float(number) for number in re.findall(r"[0-9.]+", rest)]
        if rest.startswith("below"):
            return cls(name, float("-inf"), numbers[0])
        if rest.startswith("above"):
            return cls(name, numbers[0], float("inf"))
        return cls(name, *numbers)
