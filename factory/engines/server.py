"""A server with the OpenAI API as a judge: it answers the questions of filters, one request each."""

from __future__ import annotations

import asyncio
import base64
import io
import math
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from factory.engines.contract import Answer, EngineDied, RequestRefused, RequestTimeout
from factory.errors import EngineError

if TYPE_CHECKING:
    from PIL import Image

    from filters.asking.questions import Endpoint, Question

AT_ONCE: Final = 32
RETRIES: Final = 5
TOP: Final = 20
"""Log-probabilities that are asked for: as many as the API allows."""
MOST_PROBABILITY: Final = 1.01
GONE: Final = (502, 503, 504)
"""What a proxy says, after RETRIES, when there is nobody behind it."""
KEY: Final = "OPENAI_API_KEY"


class EndpointEngine:
    """Answers through a server. The key, where it wants one, comes from the environment variable OPENAI_API_KEY."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Ask the server which models it serves.

        Raises:
            EngineError: nobody answers there, or not with this model.
        """
        from openai import AsyncOpenAI, OpenAI, OpenAIError

        self.endpoint = endpoint
        options: dict[str, Any] = {"base_url": endpoint.endpoint, "api_key": os.environ.get(KEY) or "none"}
        try:
            served = [model.id for model in OpenAI(**options, timeout=20, max_retries=2).models.list()]
        except OpenAIError as error:
            raise EngineError(
                f"{endpoint.endpoint}: no server with the OpenAI API answers there ({_words(error)}); start it, or correct "
                f"the judge's endpoint; where it wants a key, set {KEY}"
            ) from None
        if endpoint.model not in served:
            raise EngineError(
                f"{endpoint.endpoint}: serves {', '.join(served[:10]) or 'no model'}, not {endpoint.model}; correct the judge's model"
            )
        self._client = AsyncOpenAI(**options, max_retries=RETRIES)
        self._logprobs: dict[str, Any] = {"logprobs": True, "top_logprobs": TOP}
        self._room = asyncio.Semaphore(AT_ONCE)

    async def answer(
        self, question: Question, image: Callable[[], Image.Image], image_id: str, timeout_s: float
    ) -> Answer:
        """The probabilities of the allowed answers, as far as the server tells them, or what it says to an open question; see
        `filters.asking.questions.Question`.

        A server that gives no log-probabilities, or refuses to be asked for them, is believed at its word: 1 for the answer
        that it gives, and `elsewhere` unknown.

        Raises:
            RequestRefused: the server refuses, cannot be asked that, or answers with nonsense. RequestTimeout: it does not
                answer in time. EngineDied: it cannot be reached any more.
        """
        from openai import APIConnectionError, APIStatusError, APITimeoutError, BadRequestError, OpenAIError

        if question.kind == "text":
            raise RequestRefused("a server with the OpenAI API tells no log-probabilities of a text that is given")
        content: list[dict[str, Any]] = [{"type": "text", "text": question.text}]
        if question.sees == "image":
            content.insert(0, {"type": "image_url", "image_url": {"url": _data_url(image())}})
        request: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": question.max_tokens or 1,
            "temperature": 0.0,
            "timeout": timeout_s,
        }
        try:
            async with self._room:
                try:
                    logprobs = self._logprobs if question.kind == "choice" else {}
                    reply = await self._client.chat.completions.create(**request, **logprobs)
                except BadRequestError as error:
                    if "logprob" not in str(error):
                        raise
                    self._logprobs = {}  # this server knows none
                    reply = await self._client.chat.completions.create(**request)
        except APITimeoutError:
            raise RequestTimeout(f"no answer within {timeout_s:g} s") from None
        except APIConnectionError as error:
            raise EngineDied(f"the server cannot be reached any more ({_words(error)})") from None
        except APIStatusError as error:
            if error.status_code in GONE:
                raise EngineDied(f"the server is gone: {error.status_code} {_words(error)}") from None
            raise RequestRefused(f"the server refuses: {error.status_code} {_words(error)}") from None
        except OpenAIError as error:
            raise RequestRefused(_words(error)) from None
        try:
            if not reply.choices:
                raise RequestRefused("the server answers with nothing")
            if question.kind == "open":
                return Answer([], [], None, str(reply.choices[0].message.content or ""))
            return _answer(reply, question.allowed)
        except (AttributeError, IndexError, TypeError, ValueError, OverflowError):  # the client checks no reply
            raise RequestRefused("what the server answers is no chat completion of the OpenAI API") from None

    def stop(self) -> None:
        """Nothing: the server goes on."""


def _answer(reply: Any, allowed: tuple[str, ...]) -> Answer:
    choice = reply.choices[0]
    said = choice.message.content or ""
    tokens = choice.logprobs.content if choice.logprobs is not None else None
    if not tokens:
        words = re.findall(r"\w+", said.lower())[:1]
        values = [float(words == [answer]) for answer in allowed]
        return Answer(values, [], None if sum(values) == 1 else 1.0, said)
    first: dict[str, float] = {}
    for one in tokens[0].top_logprobs or [tokens[0]]:
        first[_word(one.token)] = first.get(_word(one.token), 0.0) + math.exp(one.logprob)
    if not sum(first.values()) <= MOST_PROBABILITY:  # not a number, too
        raise RequestRefused("the server's log-probabilities are none: together they say more than 1")
    values = [first.get(answer, 0.0) for answer in allowed]
    return Answer(values, [], max(0.0, 1.0 - sum(values)), said)


def _word(token: str) -> str:
    return token.strip().lower()


def _data_url(image: Image.Image) -> str:
    """The picture as it was prepared, without loss."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _words(error: Exception) -> str:
    """What went wrong, on one line, without the key."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    key = os.environ.get(KEY)
    return text.replace(key, "***") if key else text
