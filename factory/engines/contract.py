"""What may be asked of an engine or a server, what it gives, and how it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL import Image

    from factory.recipe import Sampling
    from factory.work.views import ReadyView
    from filters.asking.questions import Question


@dataclass(frozen=True, slots=True)
class Completion:
    """One generated text. Log-probabilities are natural, of the text's tokens; None when there are none."""

    text: str
    reasoning: str | None  # what a thinking model wrote before it; no part of the text
    reasoning_tokens: int
    finish_reason: str | None
    stop_reason: str | None
    prompt_tokens: int
    output_tokens: int
    mean_logprob: float | None
    min_logprob: float | None
    sentence_logprobs: list[dict[str, Any]]  # tables.SENTENCE_LOGPROBS
    cost: float | None = None  # of a server's that has a price, in its money


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answers to a filter's question: the fields of `filters.contract.answers.ANSWER`. `said`: its words, "" for a text."""

    values: list[float]
    ends: list[int]
    elsewhere: float | None
    said: str


class RequestRefused(Exception):
    """The engine refused one request (for example a prompt that is too long); it goes on serving others."""


class RequestTimeout(Exception):
    """One request took longer than the view's timeout_s."""


class EngineDied(Exception):
    """The engine core is gone or hangs; nothing more can be asked of this process."""


class Answers(Protocol):
    """What answers questions about images: an engine, or a server."""

    async def answer(
        self, question: Question, image: Callable[[], Image.Image], image_id: str, ready: ReadyView
    ) -> Answer:
        """What the model answers to a question about an image; see `filters.asking.questions.Question`.

        Args:
            question: what is asked, and which answers are allowed.
            image: gives the image when its turn has come; RGB, already at the judge's pixel budget.
            image_id: unique for these pixels; caches go by it.
            ready: the judge, as a view: how it is talked to, and the seconds after which the question is given up.

        Raises:
            RequestRefused, RequestTimeout: this question; EngineDied: all of them.
            EngineError: it cannot be asked that at all.
        """

    def stop(self) -> None:
        """Let go of what it holds; it is not asked any more."""


class Captions(Answers, Protocol):
    """What captions images, too."""

    special: tuple[str, ...] | None
    """The strings that its tokenizer reads as one special token; None where they are not known."""
    label: str
    """What it is, with its version, for the captions' column `engine`."""

    @property
    def template_sha256(self) -> str | None:
        """SHA-256 of the chat template, hex; None where it is not known."""

    async def generate(
        self,
        ready: ReadyView,
        prompt: str,
        image: Callable[[], Image.Image] | None,
        image_id: str,
        sampling: Sampling,
        seed: int | None,
        ahead: bool = False,
    ) -> list[Completion]:
        """The candidates for one image, in order; see `factory.engines.vllm_engine.Engine.generate`."""
