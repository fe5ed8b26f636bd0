"""A server's answers become probabilities, whatever it tells and leaves out. The server is real; what it says is chosen here."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from factory.engines.contract import Answer, EngineDied, RequestRefused, RequestTimeout
from factory.engines.server import FAILED, ServerEngine
from factory.errors import EngineError
from filters.asking.questions import Endpoint, Question
from filters.asking.server import KEY
from tests.judge_server import Server, completion, serving
from tests.ready import ready_view

QUESTION = Question('Does this image show "A dog."? Please answer yes or no.', ("yes", "no"))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as served:
        yield served


def ask(server: Server, timeout_s: float = 20.0, question: Question = QUESTION) -> Answer:
    engine = ServerEngine(Endpoint(endpoint=server.url, model="judge", retries=0))
    return asyncio.run(
        engine.answer(question, lambda: Image.new("RGB", (8, 8)), "image", ready_view(timeout_s=timeout_s))
    )


def test_all_spellings_of_an_answer_count_together(server: Server) -> None:
    server.reply = completion("Yes", {"Yes": 0.5, " yes": 0.25, "No": 0.15, "Maybe": 0.05})

    answer = ask(server)

    assert answer.values == [pytest.approx(0.75), pytest.approx(0.15)]
    assert answer.elsewhere == pytest.approx(0.10)


def test_the_image_and_one_token_are_sent(server: Server) -> None:
    server.reply = completion("Yes", {"Yes": 1.0})
    ask(server)

    (request,) = server.requests
    image, text = request["messages"][0]["content"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert text["text"] == QUESTION.text
    assert request["max_tokens"] == 1
    assert request["temperature"] == 0


def test_a_server_without_log_probabilities_is_believed_at_its_word(server: Server) -> None:
    server.reply = completion("No.", None)

    answer = ask(server)

    assert answer.values == [0.0, 1.0]
    assert answer.elsewhere is None


def test_a_server_that_refuses_log_probabilities_is_asked_without(server: Server) -> None:
    refusal = {"error": {"message": "logprobs are not supported", "type": "invalid_request_error", "code": 400}}
    server.reply = lambda request: (400, refusal) if "logprobs" in request else completion("yes", None)

    assert ask(server).values == [1.0, 0.0]


def test_an_open_question_is_answered_in_words(server: Server) -> None:
    server.reply = completion('[{"id": 1}]', None)

    answer = ask(server, question=Question("List the claims.", sees="nothing", max_tokens=50))

    (request,) = server.requests
    assert answer.said == '[{"id": 1}]'
    assert (answer.values, answer.elsewhere) == ([], None)
    assert request["max_tokens"] == 50
    assert "logprobs" not in request
    assert [part["type"] for part in request["messages"][0]["content"]] == ["text"]


def test_an_open_question_that_is_answered_with_nothing_said_is_empty(server: Server) -> None:
    status, body = completion("", None)
    body["choices"][0]["message"]["content"] = None
    server.reply = (status, body)

    assert ask(server, question=Question("List.", sees="nothing", max_tokens=5)).said == ""


def test_another_word_is_all_elsewhere(server: Server) -> None:
    server.reply = completion("Certainly! It", None)

    answer = ask(server)

    assert (answer.values, answer.elsewhere, answer.said) == ([0.0, 0.0], 1.0, "Certainly! It")


def test_a_refusal_is_the_servers_own_words_without_the_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "sk-secret")
    server.reply = (422, {"error": {"message": "no vision here for sk-secret"}})

    with pytest.raises(RequestRefused, match=r"422.*no vision here") as refused:
        ask(server)

    assert "sk-secret" not in str(refused.value)


def test_an_answer_without_choices_is_refused(server: Server) -> None:
    server.reply = (200, {"id": "x", "object": "chat.completion", "created": 0, "model": "judge", "choices": []})

    with pytest.raises(RequestRefused, match="nothing"):
        ask(server)


def test_a_server_that_does_not_answer_in_time_is_a_timeout(server: Server) -> None:
    held = threading.Event()
    server.reply = lambda request: (held.wait(5), completion("yes", None))[1]

    with pytest.raises(RequestTimeout, match=r"0\.3 s"):
        ask(server, timeout_s=0.3)
    held.set()


def test_the_likelihood_of_a_given_text_cannot_be_asked(server: Server) -> None:
    with pytest.raises(RequestRefused, match="log-probabilities"):
        ask(server, question=Question("A dog.", prompt="Describe the image."))


def test_another_model_than_named_is_an_error_that_lists_them(server: Server) -> None:
    with pytest.raises(EngineError, match="serves judge, not other"):
        ServerEngine(Endpoint(endpoint=server.url, model="other"))


def test_a_number_that_begins_with_an_allowed_digit_is_another_word(server: Server) -> None:
    server.reply = completion("10", None)

    answer = ask(server, question=Question("Rate it.", tuple("0123456789")))

    assert (sum(answer.values), answer.elsewhere) == (0.0, 1.0)


@pytest.mark.parametrize(
    "body",
    [
        {"error": "none"},
        {"choices": [{"index": 0}]},
        {"choices": [{"index": 0, "message": {"content": None}, "logprobs": {"content": [{}]}}]},
        {"choices": [{"message": {"content": "yes"}, "logprobs": {"content": [{"token": "yes", "logprob": None}]}}]},
        {"choices": [{"message": {"content": 5}}]},
        {"choices": "yes"},
    ],
)
def test_a_reply_of_another_form_is_a_reason(server: Server, body: dict[str, Any]) -> None:
    server.reply = (200, body)

    with pytest.raises(RequestRefused, match="server"):
        ask(server)


@pytest.mark.parametrize("logprob", [float("nan"), float("inf"), 3.0])
def test_log_probabilities_that_are_none_never_become_a_sure_yes(server: Server, logprob: float) -> None:
    status, body = completion("yes", {"yes": 0.5})
    body["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0]["logprob"] = logprob
    server.reply = (status, body)

    with pytest.raises(RequestRefused, match="more than 1"):
        ask(server)


def test_a_server_that_goes_away_is_dead_and_not_merely_silent(server: Server) -> None:
    server.reply = (503, {"error": {"message": "no backend"}})

    with pytest.raises(EngineDied, match="503"):
        ask(server)


@pytest.mark.parametrize("status", [500, 429])
def test_a_server_that_has_nothing_but_errors_is_no_judge(server: Server, status: int) -> None:
    server.reply = (status, {"error": {"message": "out of memory"}})
    engine = ServerEngine(Endpoint(endpoint=server.url, model="judge", retries=0))

    async def ask_many() -> list[BaseException | Answer]:
        image = Image.new("RGB", (8, 8))
        found: list[BaseException | Answer] = []
        for _ in range(FAILED):
            found += await asyncio.gather(
                engine.answer(QUESTION, image.copy, "image", ready_view()), return_exceptions=True
            )
        return found

    found = asyncio.run(ask_many())
    assert sum(isinstance(one, RequestRefused) for one in found) == FAILED - 1
    fatal = [one for one in found if isinstance(one, EngineError)]
    assert f"{status}" in str(fatal[0])
    assert "out of memory" in str(fatal[0])
    assert len(server.requests) == len(found)  # each question once


def test_one_answer_in_between_and_the_server_is_heard_further(server: Server) -> None:
    replies = [(500, {"error": {"message": "busy"}}), completion("yes", {"yes": 0.9})]
    server.reply = lambda request: replies[len(server.requests) % 2]
    engine = ServerEngine(Endpoint(endpoint=server.url, model="judge", retries=0))

    async def ask_many() -> list[BaseException | Answer]:
        image = Image.new("RGB", (8, 8))
        found: list[BaseException | Answer] = []
        for _ in range(2 * FAILED + 2):
            found += await asyncio.gather(
                engine.answer(QUESTION, image.copy, "image", ready_view()), return_exceptions=True
            )
        return found

    assert not any(isinstance(one, EngineError) for one in asyncio.run(ask_many()))


def test_a_question_is_sent_again_as_often_as_asked_for(server: Server) -> None:
    server.should_retry = "true"
    server.reply = (500, {"error": {"message": "busy"}})
    engine = ServerEngine(Endpoint(endpoint=server.url, model="judge", retries=2))
    with pytest.raises(RequestRefused):
        asyncio.run(engine.answer(QUESTION, lambda: Image.new("RGB", (8, 8)), "image", ready_view()))
    assert len(server.requests) == 3


@pytest.mark.parametrize("page", ["<html><body>Sign in</body></html>", "not JSON at all"])
@pytest.mark.parametrize("kind", ["text/html", "text/plain"])
@pytest.mark.parametrize("question", [QUESTION, Question("List.", sees="nothing", max_tokens=5)])
def test_a_page_is_no_answer(server: Server, page: str, kind: str, question: Question) -> None:
    server.content_type, server.reply = kind, (200, page)

    with pytest.raises(RequestRefused, match="no JSON"):
        ask(server, question=question)


def test_a_server_that_caps_log_probabilities_is_asked_for_fewer(server: Server) -> None:
    refusal = {"error": {"message": "top_logprobs must be at most 5", "type": "invalid_request_error"}}
    server.reply = lambda request: (
        (400, refusal) if request.get("top_logprobs", 0) > 5 else completion("Yes", {"Yes": 0.7, "No": 0.2})
    )

    assert ask(server).values == [pytest.approx(0.7), pytest.approx(0.2)]
    assert server.requests[-1]["top_logprobs"] == 5
