"""A server's answers become probabilities, whatever it tells and leaves out. The server is real; what it says is chosen here."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

from factory.endpoint import KEY, EndpointEngine
from factory.engine import Answer, RequestRefused, RequestTimeout
from factory.errors import EngineError
from filters.questions import Endpoint, Question

QUESTION = Question('Does this image show "A dog."? Please answer yes or no.', ("yes", "no"))


class Server(ThreadingHTTPServer):
    """Answers every chat completion with `reply`: (status, body), or a function of the request that gives them."""

    reply: Any = (200, {})
    requests: list[dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._send(
            200, {"object": "list", "data": [{"id": "judge", "object": "model", "created": 0, "owned_by": "us"}]}
        )

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        reply = self.server.reply
        self._send(*(reply(request) if callable(reply) else reply))

    def _send(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server(("127.0.0.1", 0), Handler)
    served.requests = []
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()


def completion(said: str, tops: dict[str, float] | None) -> tuple[int, dict[str, Any]]:
    top = [{"token": token, "logprob": math.log(share), "bytes": None} for token, share in (tops or {}).items()]
    first = {"token": said, "logprob": -0.1, "bytes": None, "top_logprobs": top}
    choice = {
        "index": 0,
        "finish_reason": "length",
        "message": {"role": "assistant", "content": said},
        "logprobs": None if tops is None else {"content": [first]},
    }
    return 200, {"id": "x", "object": "chat.completion", "created": 0, "model": "judge", "choices": [choice]}


def ask(server: Server, timeout_s: float = 20.0, question: Question = QUESTION) -> Answer:
    engine = EndpointEngine(Endpoint(endpoint=f"http://127.0.0.1:{server.server_port}/v1", model="judge"))
    return asyncio.run(engine.answer(question, lambda: Image.new("RGB", (8, 8)), "image", timeout_s))


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


def test_a_server_that_does_not_answer_in_time_is_a_timeout(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factory.endpoint.RETRIES", 0)
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
        EndpointEngine(Endpoint(endpoint=f"http://127.0.0.1:{server.server_port}/v1", model="other"))
