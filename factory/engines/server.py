"""A server with the OpenAI API as captioner and as judge: one request for an image, or for a question of a filter."""

from __future__ import annotations

import asyncio
import base64
import io
import math
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from factory.engines.contract import Answer, Completion, EngineDied, RequestRefused, RequestTimeout
from factory.engines.logprobs import logprob_fields
from factory.engines.rate_limit import RateLimit
from factory.errors import EngineError
from factory.recipe import AS_IT_IS
from factory.work.prompts import neutralise
from filters.asking.server import KEY
from filters.text.reasoning import answer_of, split_reasoning

if TYPE_CHECKING:
    from openai import APIStatusError
    from PIL import Image

    from factory.recipe import Sampling
    from factory.work.views import ReadyView
    from filters.asking.questions import Question
    from filters.asking.server import Server

FAILED: Final = 20
"""Requests in a row that a server answers with nothing but errors, after which it is no engine."""
TOP: Final = 20
"""Log-probabilities of alternatives that are asked for: as many as the API allows."""
FEWER: Final = (20, 10, 5, 2, 1)
"""How many are asked for where a server caps them."""
MOST_PROBABILITY: Final = 1.01
MOST_LOGPROB: Final = 1e-3
GONE: Final = (502, 503, 504)
"""What a proxy says, also after all retries, when there is nobody behind it."""
CHARACTERS_A_TOKEN: Final = 4
PIXELS_A_TOKEN: Final = 784
"""About 28 x 28 pixels make one token of today's models; what a request takes is corrected when its answer says so."""
OF_THE_API: Final = ("temperature", "top_p", "presence_penalty", "max_tokens")
BEYOND_THE_API: Final = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "min_tokens": 0, "stop_token_ids": ()}
"""Settings that vLLM's server knows and OpenAI's does not: sent only where they are not as here."""


class ServerEngine:
    """Captions and answers through a server. Its key, where it wants one, comes from an environment variable."""

    special: tuple[str, ...] | None = None
    template_sha256: str | None = None
    """Neither its special tokens nor its chat template are known here."""

    def __init__(self, server: Server) -> None:
        """Ask the server which models it serves.

        Raises:
            EngineError: nobody answers there, or not with this model.
        """
        from openai import AsyncOpenAI, OpenAI, OpenAIError

        self.server = server
        self.name = server.served_name
        self.label = f"server {server.endpoint}"
        self._key = os.environ.get(server.key_variable) or os.environ.get(KEY)
        options: dict[str, Any] = {"base_url": server.endpoint, "api_key": self._key or "none"}
        try:
            served = [model.id for model in OpenAI(**options, timeout=20, max_retries=2).models.list()]
        except OpenAIError as error:
            raise EngineError(
                f"{server.endpoint}: no server with the OpenAI API answers there ({self._words(error)}); start it, or correct "
                f"the endpoint; where it wants a key, set {server.key_variable}"
            ) from None
        if self.name not in served:
            raise EngineError(
                f"{server.endpoint}: serves {', '.join(served[:10]) or 'no model'}, not {self.name}; correct the model's name"
            )
        self._client = AsyncOpenAI(**options, max_retries=server.retries)
        self._alternatives: dict[str, Any] = {"logprobs": True, "top_logprobs": TOP}
        self._tells_logprobs = True
        self._gives_several = True
        self._limit_name = "max_tokens"
        self._failed = 0
        self._room = asyncio.Semaphore(server.at_once)
        self._rate = RateLimit(server.requests_per_minute, server.tokens_per_minute)

    # --- captions ---

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
        """The candidates for one image, in order; see `factory.engines.vllm_engine.Engine.generate`.

        A server that gives one candidate where several are asked for is asked for each. Log-probabilities are there where it
        gives them.

        Raises:
            RequestRefused, RequestTimeout: this request; EngineDied: all of them.
            EngineError: the server is another model, or its log-probabilities are none.
        """
        picture = image() if image is not None else None
        content: str | list[dict[str, Any]] = prompt
        if picture is not None:
            shown = {"type": "image_url", "image_url": {"url": _data_url(picture)}}
            content = [shown, {"type": "text", "text": prompt}]
        before = [{"role": "system", "content": ready.view.system}] if ready.view.system else []
        settings = sampling.model_dump()
        beyond = {name: value for name, usual in BEYOND_THE_API.items() if (value := settings[name]) != usual}
        request: dict[str, Any] = {
            "model": self.name,
            "messages": [*before, {"role": "user", "content": content}],
            **{name: settings[name] for name in OF_THE_API},
            **({"stop": list(sampling.stop)} if sampling.stop else {}),
            "timeout": ready.view.timeout_s,
            "extra_body": beyond | _template(ready),
        }
        tokens = len(prompt) // CHARACTERS_A_TOKEN + _image_tokens(picture)
        together = sampling.n if self._gives_several else 1
        replies = [
            await self._reply(request | _drawn(together, seed), tokens + together * sampling.max_tokens, self._logprobs)
        ]
        missing = range(len(replies[0].choices), sampling.n)
        if missing:
            self._gives_several = False
            replies += await asyncio.gather(
                *(
                    self._reply(
                        request | _drawn(1, None if seed is None else seed + number),
                        tokens + sampling.max_tokens,
                        self._logprobs,
                    )
                    for number in missing
                )
            )
        made = [self._completion(choice, reply, ready) for reply in replies for choice in reply.choices]
        return made[: sampling.n]

    @property
    def _logprobs(self) -> dict[str, Any]:
        """What captions ask for: the log-probabilities of what is written, not of alternatives."""
        return {"logprobs": True} if self._tells_logprobs else {}

    def _completion(self, choice: Any, reply: Any, ready: ReadyView) -> Completion:
        _check_choice(choice)
        message = choice.message
        said = str(message.content or getattr(message, "refusal", None) or "")
        told = getattr(message, "reasoning", None) or getattr(message, "reasoning_content", None)
        reasoning, answer = (None, said) if ready.view.reasoning == AS_IT_IS else split_reasoning(said)
        reasoning = (
            "\n".join(part.strip() for part in (told, reasoning) if isinstance(part, str) and part.strip()) or None
        )
        answer = answer.strip()
        tokens, logprobs = self._token_logprobs(choice, said)
        start, thought = _answer_in(tokens, answer, said)
        several = max(1, len(reply.choices))
        usage = reply.usage
        prompt_tokens, output_tokens = (
            (usage.prompt_tokens, usage.completion_tokens // several) if usage else (0, len(tokens))
        )
        output_tokens = len(tokens) or output_tokens
        details = getattr(usage, "completion_tokens_details", None)
        thought_tokens = (getattr(details, "reasoning_tokens", None) or 0) // several or thought
        price = ready.view.server.price if ready.view.server is not None else None
        return Completion(
            text=answer,
            reasoning=reasoning,
            reasoning_tokens=thought_tokens if reasoning else 0,
            finish_reason=choice.finish_reason,
            stop_reason=None,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            cost=price.of(prompt_tokens, output_tokens * several) / several if price else None,
            **logprob_fields(answer, start, tokens, logprobs, thought),
        )

    def _token_logprobs(self, choice: Any, said: str) -> tuple[list[str], list[float]]:
        """What a choice is made of, token by token, with their log-probabilities; empty where the server gives none.

        Raises:
            EngineError: they cannot be log-probabilities of what it says.
        """
        content = choice.logprobs.content if choice.logprobs is not None else None
        if not content:
            return [], []
        tokens, logprobs = [str(one.token) for one in content], [float(one.logprob) for one in content]
        if not all(value <= MOST_LOGPROB for value in logprobs):  # not a number, too
            raise EngineError(
                f"{self.server.endpoint}: {self.name} gives log-probabilities above 0, so they are none; {_UNASKED}"
            )
        if len("".join(tokens)) * 2 < len(said):
            raise EngineError(
                f"{self.server.endpoint}: {self.name} gives log-probabilities of {len(tokens)} tokens that are not the "
                f"{len(said)} characters of its answer; {_UNASKED}"
            )
        return tokens, [min(0.0, value) for value in logprobs]

    # --- answers ---

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
        if question.kind == "text":
            raise RequestRefused("a server with the OpenAI API tells no log-probabilities of a text that is given")
        content: list[dict[str, Any]] = [{"type": "text", "text": neutralise(question.text, None)}]
        tokens = len(question.text) // CHARACTERS_A_TOKEN + (question.max_tokens or 1)
        if question.sees == "image":
            picture = image()
            tokens += picture.width * picture.height // PIXELS_A_TOKEN
            content.insert(0, {"type": "image_url", "image_url": {"url": _data_url(picture)}})
        request: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": question.max_tokens or 1,
            "temperature": 0.0,
            "timeout": ready.view.timeout_s,
            "extra_body": _template(ready),
        }
        reply = await self._reply(request, tokens, self._alternatives if question.kind == "choice" else {})
        try:
            if question.kind == "open":
                return Answer([], [], None, answer_of(str(reply.choices[0].message.content or "")))
            return _answer(reply, question.allowed)
        except (AttributeError, IndexError, TypeError, ValueError, OverflowError):  # the client checks no reply
            raise RequestRefused(_NO_COMPLETION) from None

    def stop(self) -> None:
        """Nothing: the server goes on."""

    # --- requests ---

    async def _reply(self, request: dict[str, Any], tokens: int, logprobs: dict[str, Any]) -> Any:
        """The server's reply, with at least one choice. `tokens`: that it will take, about."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

        try:
            async with self._room:
                await self._rate.wait(tokens)
                reply = await self._asked(request, logprobs)
        except APITimeoutError:
            raise RequestTimeout(f"no answer within {request['timeout']:g} s") from None
        except APIConnectionError as error:
            raise EngineDied(f"the server cannot be reached any more ({self._words(error)})") from None
        except APIStatusError as error:
            if error.status_code in GONE:
                raise EngineDied(f"the server is gone: {error.status_code} {self._words(error)}") from None
            self._count_failure(error)
            raise RequestRefused(f"the server refuses: {error.status_code} {self._words(error)}") from None
        except OpenAIError as error:
            raise RequestRefused(self._words(error)) from None
        try:
            if isinstance(reply, str):
                raise RequestRefused(
                    f"the server answers with a page that is no JSON: {' '.join(reply.split())[:100]!r}"
                )
            self._failed = 0
            if not reply.choices:
                raise RequestRefused("the server answers with nothing")
            self._check_model(reply.model)
            if reply.usage is not None:
                self._rate.correct(tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens)
        except (AttributeError, IndexError, TypeError, ValueError):  # the client checks no reply
            raise RequestRefused(_NO_COMPLETION) from None
        return reply

    async def _asked(self, request: dict[str, Any], logprobs: dict[str, Any]) -> Any:
        """The server's reply. Of log-probabilities it is asked for fewer, and then for none, where it says that it has not so many."""
        from openai import APIStatusError

        wants = bool(logprobs)
        while True:
            renamed = {self._limit_name if name == "max_tokens" else name: value for name, value in request.items()}
            try:
                return await self._client.chat.completions.create(**renamed, **logprobs)
            except APIStatusError as error:
                if error.status_code not in (400, 422):
                    raise
                if wants and logprobs and "logprob" in str(error):
                    logprobs = self._asked_for_less(logprobs)
                elif "max_completion_tokens" in str(error) and "max_tokens" in renamed:
                    self._limit_name = "max_completion_tokens"
                elif request.get("n", 1) > 1 and re.search(r"\bn\b", str(error)):
                    self._gives_several = False
                    request = request | {"n": 1}
                else:
                    raise

    def _asked_for_less(self, asked: dict[str, Any]) -> dict[str, Any]:
        """After a refusal of so many log-probabilities; several requests may hear of the same one."""
        if "top_logprobs" not in asked:
            self._tells_logprobs = False
            return {}
        if self._alternatives.get("top_logprobs") == asked["top_logprobs"]:
            fewer = next((top for top in FEWER if top < asked["top_logprobs"]), None)
            self._alternatives = {} if fewer is None else {"logprobs": True, "top_logprobs": fewer}
        return dict(self._alternatives)

    def _check_model(self, says: str | None) -> None:
        """Raises EngineError where the answer is another model's. A server may add a date, or leave out the maker."""
        asked, said = (str(name or "").rsplit("/", 1)[-1].lower() for name in (self.name, says))
        if said and asked not in said and said not in asked:
            raise EngineError(
                f"{self.server.endpoint}: {self.name} was asked, and {says} answers; correct the model's name, or the server"
            )

    def _count_failure(self, error: APIStatusError) -> None:
        """Raises EngineError after FAILED requests in a row that the server had nothing but errors for."""
        if error.status_code < 500 and error.status_code not in (401, 403, 408, 409, 429):
            return
        self._failed += 1
        if self._failed >= FAILED:
            raise EngineError(
                f"{self.server.endpoint}: {self._failed} questions in a row were answered with nothing but errors; the last: "
                f"{error.status_code} {self._words(error)}. Mend the server, or wait until it is less busy, and run again: what "
                "was answered is kept"
            ) from None

    def _words(self, error: Exception) -> str:
        """What went wrong, on one line, without the key."""
        text = " ".join(str(error).split())[:300] or type(error).__name__
        return text.replace(self._key, "***") if self._key else text


_NO_COMPLETION: Final = "what the server answers is no chat completion of the OpenAI API"
_UNASKED: Final = "mend the server: what is written down as evidence must be true"


def _template(ready: ReadyView) -> dict[str, Any]:
    """What vLLM's server, and those like it, give to the chat template."""
    return {"chat_template_kwargs": ready.view.chat_template} if ready.view.chat_template else {}


def _drawn(several: int, seed: int | None) -> dict[str, Any]:
    return ({"n": several} if several > 1 else {}) | ({} if seed is None else {"seed": seed})


def _check_choice(choice: Any) -> None:
    """Raises RequestRefused for what is no answer."""
    if getattr(choice, "message", None) is None:
        raise RequestRefused(_NO_COMPLETION)
    if choice.finish_reason == "content_filter":
        raise RequestRefused("the server's content filter cut the answer")


def _answer_in(tokens: list[str], answer: str, said: str) -> tuple[int, int]:
    """Where an answer begins in its tokens joined, in characters, and how many tokens are before it."""
    written = "".join(tokens)
    start = max(0, written.rfind(answer)) if tokens else max(0, said.rfind(answer))
    at, thought = 0, 0
    for token in tokens:
        at += len(token)
        if at > start:
            break
        thought += 1
    return start, thought


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


def _image_tokens(picture: Image.Image | None) -> int:
    return 0 if picture is None else picture.width * picture.height // PIXELS_A_TOKEN


def _data_url(image: Image.Image) -> str:
    """The picture as it was prepared, without loss."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
