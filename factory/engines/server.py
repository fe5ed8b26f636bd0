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
from filters.text.reasoning import answer_of

if TYPE_CHECKING:
    from openai import APIStatusError
    from PIL import Image

    from factory.work.views import ReadyView
    from filters.asking.questions import Endpoint, Question

AT_ONCE: Final = 32
FAILED: Final = 20
"""Questions in a row that a server answers with nothing but errors, after which it is no judge."""
TOP: Final = 20
"""Log-probabilities that are asked for: as many as the API allows."""
FEWER: Final = (20, 10, 5, 2, 1)
"""How many are asked for where a server caps them."""
MOST_PROBABILITY: Final = 1.01
GONE: Final = (502, 503, 504)
"""What a proxy says, also after all retries, when there is nobody behind it."""
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
        self._client = AsyncOpenAI(**options, max_retries=endpoint.retries)
        self._logprobs: dict[str, Any] = {"logprobs": True, "top_logprobs": TOP}
        self._failed = 0
        self._room = asyncio.Semaphore(AT_ONCE)

    async def answer(
        self, question: Question, image: Callable[[], Image.Image], image_id: str, ready: ReadyView
    ) -> Answer:
        """The probabilities of the allowed answers, as far as the server tells them, or what it says to an open question; see
        `filters.asking.questions.Question`.

        A server that gives no log-probabilities, or refuses to be asked for them, is believed at its word: 1 for the answer
        that it gives, and `elsewhere` unknown.

        Raises:
            RequestRefused: the server refuses, cannot be asked that, or answers with nonsense. RequestTimeout: it does not
                answer in time. EngineDied: it cannot be reached any more.
        """
        from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

        if question.kind == "text":
            raise RequestRefused("a server with the OpenAI API tells no log-probabilities of a text that is given")
        timeout_s = ready.view.timeout_s
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
        if self.endpoint.chat_template:
            request["extra_body"] = {"chat_template_kwargs": self.endpoint.chat_template}
        try:
            async with self._room:
                reply = await self._asked(request, question.kind == "choice")
        except APITimeoutError:
            raise RequestTimeout(f"no answer within {timeout_s:g} s") from None
        except APIConnectionError as error:
            raise EngineDied(f"the server cannot be reached any more ({_words(error)})") from None
        except APIStatusError as error:
            if error.status_code in GONE:
                raise EngineDied(f"the server is gone: {error.status_code} {_words(error)}") from None
            self._count_failure(error)
            raise RequestRefused(f"the server refuses: {error.status_code} {_words(error)}") from None
        except OpenAIError as error:
            raise RequestRefused(_words(error)) from None
        try:
            if isinstance(reply, str):
                raise RequestRefused(
                    f"the server answers with a page that is no JSON: {' '.join(reply.split())[:100]!r}"
                )
            self._failed = 0
            if not reply.choices:
                raise RequestRefused("the server answers with nothing")
            if question.kind == "open":
                return Answer([], [], None, answer_of(str(reply.choices[0].message.content or "")))
            return _answer(reply, question.allowed)
        except (AttributeError, IndexError, TypeError, ValueError, OverflowError):  # the client checks no reply
            raise RequestRefused("what the server answers is no chat completion of the OpenAI API") from None

    def stop(self) -> None:
        """Nothing: the server goes on."""

    async def _asked(self, request: dict[str, Any], wants_probabilities: bool) -> Any:
        """The server's reply. Of log-probabilities it is asked for fewer, and then for none, where it says that it has not so many."""
        from openai import APIStatusError

        while True:
            logprobs = dict(self._logprobs) if wants_probabilities else {}
            try:
                return await self._client.chat.completions.create(**request, **logprobs)
            except APIStatusError as error:
                if error.status_code not in (400, 422) or not logprobs or "logprob" not in str(error):
                    raise
                self._ask_for_less(logprobs["top_logprobs"])

    def _ask_for_less(self, asked: int) -> None:
        """After a refusal of so many log-probabilities; several questions may hear of the same one."""
        if self._logprobs.get("top_logprobs") == asked:
            fewer = next((top for top in FEWER if top < asked), None)
            self._logprobs = {} if fewer is None else {"logprobs": True, "top_logprobs": fewer}

    def _count_failure(self, error: APIStatusError) -> None:
        """Raises EngineError after FAILED questions in a row that the server had nothing but errors for."""
        if error.status_code < 500 and error.status_code not in (408, 409, 429):
            return
        self._failed += 1
        if self._failed >= FAILED:
            raise EngineError(
                f"{self.endpoint.endpoint}: {self._failed} questions in a row were answered with nothing but errors; the last: "
                f"{error.status_code} {_words(error)}. Mend the server, or wait until it is less busy, and run again: what was "
                "answered is kept"
            ) from None


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
