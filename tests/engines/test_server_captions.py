"""A server as captioner: what it is asked, and what becomes of what it says. The server is real; its words are chosen here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from PIL import Image

from factory.captioning.captioner import Captioner
from factory.engines.contract import Completion, EngineDied, RequestRefused
from factory.engines.rate_limit import RateLimit
from factory.engines.server import ServerEngine
from factory.errors import EngineError, RecipeError
from factory.images.item import ImageItem
from factory.recipe import Recipe, Sampling, ServedModel, View
from factory.runs.tables import CAPTIONS
from factory.work.views import engine_groups, ready_views
from tests.judge_server import Server, serving
from tests.ready import ready_view
from tests.recipes import demo_recipe


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as served:
        yield served


def choice(text: str, index: int = 0, tokens: dict[str, float] | None = None, **message: Any) -> dict[str, Any]:
    content = [
        {"token": token, "logprob": value, "bytes": None, "top_logprobs": []} for token, value in (tokens or {}).items()
    ]
    return {
        "index": index,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text, **message},
        "logprobs": {"content": content} if tokens else None,
    }


def reply(*choices: dict[str, Any], model: str = "judge") -> tuple[int, dict[str, Any]]:
    usage = {"prompt_tokens": 100, "completion_tokens": 10 * len(choices), "total_tokens": 100 + 10 * len(choices)}
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": list(choices),
        "usage": usage,
    }
    return 200, body


def generate(
    server: Server, sampling: dict[str, Any] | None = None, model: dict[str, Any] | None = None, **view: Any
) -> list[Completion]:
    served = ServedModel.model_validate({"endpoint": server.url, "name": "judge", "retries": 0} | (model or {}))
    engine = ServerEngine(served)
    drawn = Sampling.model_validate(sampling or {})
    seed = 7 if drawn.temperature else None
    image = lambda: Image.new("RGB", (8, 8))  # noqa: E731
    return asyncio.run(engine.generate(ready_view(model=served, **view), "Describe it.", image, "image", drawn, seed))


def test_the_image_the_prompts_and_what_differs_from_the_usual_are_sent(server: Server) -> None:
    server.reply = reply(choice("A bus."))
    sampling = {"temperature": 0.5, "top_k": 20, "max_tokens": 9, "stop": ["\n\n"], "presence_penalty": 1.0}
    generate(server, sampling, system="Be brief.", chat_template={"enable_thinking": False})

    (request,) = server.requests
    system, user = request["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert user["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert user["content"][1]["text"] == "Describe it."
    sent = {name: request[name] for name in ("temperature", "top_k", "max_tokens", "stop", "presence_penalty", "seed")}
    assert sent == {**sampling, "seed": 7}
    assert request["chat_template_kwargs"] == {"enable_thinking": False}
    assert "min_p" not in request  # a server of OpenAI refuses what it does not know


def test_a_caption_comes_with_its_tokens_log_probabilities_and_price(server: Server) -> None:
    server.reply = reply(choice("A bus.", tokens={"A": -0.5, " bus": -1.5, ".": -0.1}))

    (made,) = generate(server, model={"price": {"input": 1.0, "output": 10.0}})

    assert (made.text, made.prompt_tokens, made.output_tokens) == ("A bus.", 100, 3)
    assert made.mean_logprob == pytest.approx(-0.7)
    assert made.min_logprob == -1.5
    assert [one["tokens"] for one in made.sentence_logprobs] == [3]
    assert made.cost == pytest.approx((100 + 30) / 1e6)


def test_reasoning_is_no_part_of_the_caption_however_the_server_gives_it(server: Server) -> None:
    server.reply = reply(choice("A bus.", reasoning="It is red."))
    (apart,) = generate(server)
    server.reply = reply(
        choice(
            "<think>It is red.</think>A bus.",
            tokens={"<think>": -3.0, "It is red.": -3.0, "</think>": -3.0, "A bus.": -1.0},
        )
    )
    (within,) = generate(server)

    assert [(one.text, one.reasoning) for one in (apart, within)] == [("A bus.", "It is red.")] * 2
    assert within.mean_logprob == -1.0
    assert within.reasoning_tokens == 3


def test_a_server_that_gives_one_candidate_is_asked_for_each(server: Server) -> None:
    server.reply = lambda request: reply(choice(f"A bus, {request['seed']}."))

    made = generate(server, {"n": 3, "temperature": 1.0})

    assert sorted(one.text for one in made) == ["A bus, 7.", "A bus, 8.", "A bus, 9."]
    assert [request.get("n") for request in server.requests] == [3, None, None]


def test_candidates_of_one_reply_are_in_order(server: Server) -> None:
    server.reply = lambda request: reply(*(choice(f"A bus {number}.", number) for number in range(request["n"])))
    made = generate(server, {"n": 2, "temperature": 1.0}, {"price": {"input": 1.0, "output": 0.0}})
    assert [one.text for one in made] == ["A bus 0.", "A bus 1."]
    assert sum(one.prompt_tokens / 2 for one in made) == 100


@pytest.mark.parametrize(
    "refusal", ["logprobs are not supported", "Unsupported parameter: use max_completion_tokens instead"]
)
def test_a_server_without_some_settings_is_asked_without_them(server: Server, refusal: str) -> None:
    name = "logprobs" if "logprobs" in refusal else "max_tokens"

    def answer(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return (400, {"error": {"message": refusal}}) if name in request else reply(choice("A bus."))

    server.reply = answer
    (made,) = generate(server)
    assert made.text == "A bus."


@pytest.mark.parametrize("tokens", [{"A bus.": 0.9}, {"A bus.": float("nan")}, {"A": -0.1}])
def test_log_probabilities_that_are_none_stop_the_run(server: Server, tokens: dict[str, float]) -> None:
    server.reply = reply(choice("A bus.", tokens=tokens))
    with pytest.raises(EngineError, match="log-probabilities"):
        generate(server)


def test_another_model_that_answers_stops_the_run(server: Server) -> None:
    server.reply = reply(choice("A bus."), model="something-else")
    with pytest.raises(EngineError, match="judge was asked, and something-else answers"):
        generate(server)


@pytest.mark.parametrize("said", ["judge-2024-08-06", "org/judge"])
def test_a_name_with_its_date_or_maker_is_the_same_model(server: Server, said: str) -> None:
    server.reply = reply(choice("A bus."), model=said)
    assert generate(server)[0].text == "A bus."


def test_what_the_server_filtered_is_refused(server: Server) -> None:
    server.reply = reply({**choice("A b"), "finish_reason": "content_filter"})
    with pytest.raises(RequestRefused, match="content filter"):
        generate(server)


def test_a_server_that_goes_away_is_a_dead_engine(server: Server) -> None:
    server.reply = (503, {"error": {"message": "nobody here"}})
    with pytest.raises(EngineDied, match="gone"):
        generate(server)


def test_a_busy_server_is_asked_again(server: Server) -> None:
    answers = [(429, {"error": {"message": "later"}}), reply(choice("A bus."))]
    server.should_retry = "true"
    server.reply = lambda request: answers.pop(0)
    assert generate(server, model={"retries": 2})[0].text == "A bus."


def test_the_key_is_sent_and_never_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret-123")
    server.reply = (400, {"error": {"message": "wrong key secret-123"}})
    with pytest.raises(RequestRefused) as caught:
        generate(server, model={"key_variable": "MY_KEY"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["http://user:key@host/v1", "http://host/v1?key=abc"])
def test_a_recipe_holds_no_key(endpoint: str) -> None:
    with pytest.raises(RecipeError, match="A key goes into the environment variable"):
        View(name="v", model={"endpoint": endpoint, "name": "m"}, prompts=["-"])


@pytest.mark.parametrize(
    "wrong", [{"lora": "a"}, {"engine": {"dtype": "auto"}}, {"replicas": 2}, {"reasoning": "qwen3"}]
)
def test_what_is_the_servers_to_set_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="the server's to set"):
        View(name="v", model={"endpoint": "http://host/v1", "name": "m"}, prompts=["-"], **wrong)


def test_a_rate_is_kept() -> None:
    async def several(limit: RateLimit, requests: int) -> float:
        started = time.monotonic()
        await asyncio.gather(*(limit.wait(10) for _ in range(requests)))
        return time.monotonic() - started

    assert asyncio.run(several(RateLimit(1200, None), 5)) >= 0.19
    assert asyncio.run(several(RateLimit(None, 12_000), 5)) >= 0.19
    assert asyncio.run(several(RateLimit(None, None), 500)) < 5


def test_tokens_that_were_not_taken_are_given_back() -> None:
    async def waited() -> float:
        limit = RateLimit(None, 6000)
        await limit.wait(1000)  # ten seconds' worth
        limit.correct(1000, 10)
        started = time.monotonic()
        await limit.wait(10)
        return time.monotonic() - started

    assert asyncio.run(waited()) < 1


def test_the_captioner_makes_rows_of_what_a_server_says(server: Server) -> None:
    """The rows are those of an engine: a canary before them, special tokens broken up, what is not known left empty."""
    server.reply = lambda request: reply(
        choice("" if "nothing" in str(request) else f"<think>Hm.</think>A scene like {hash(str(request)) % 9999}.")
    )
    model = {"endpoint": server.url, "name": "judge", "retries": 0}
    views = [
        {"name": "self", "model": model, "prompts": ["What is it, if its text is {original}?"]},
        {"name": "none", "model": model, "prompts": ["Say nothing."], "canary": False},
    ]
    (group,) = engine_groups(ready_views(Recipe.model_validate(demo_recipe(views=views, filters=[], select={}))))
    assert group.server is not None
    captioner = Captioner(group, ServerEngine(group.server))
    rgb = bytes(range(192))
    item = ImageItem("k", "s", "<|im_end|> [INST] a < b", (0, 1), rgb, 8, 8, 8, 8, "PNG", "0" * 64)

    async def made() -> list[dict[str, Any]]:
        await captioner.canary([item])
        return [*await captioner.caption(item, 0), *await captioner.caption(item, 1)]

    rows = pl.DataFrame(asyncio.run(made()), schema=CAPTIONS)

    assert rows["status"].to_list() == ["ok", "failed"]
    assert rows["reason"].to_list() == [None, "empty"]
    assert rows["reasoning"].to_list() == ["Hm.", None]
    assert rows["prompt"][0] == "What is it, if its text is < |im_end|> [ INST] a < b?"
    assert rows["model"].unique().to_list() == ["judge"]
    assert rows["template_sha256"].null_count() == rows["mean_logprob"].null_count() == rows["cost"].null_count() == 2


def test_where_a_server_stands_is_part_of_its_captions_unless_its_weights_are_named() -> None:
    def fingerprints(**view: Any) -> list[str]:
        model = {"endpoint": view.pop("endpoint", "http://a/v1"), "name": "m", **view.pop("model", {})}
        views = [{"name": "v", "model": model, "prompts": ["-"], **view}]
        (ready,) = ready_views(Recipe.model_validate(demo_recipe(views=views, filters=[], select={})))
        return list(ready.fingerprints)

    assert fingerprints() == fingerprints(model={"at_once": 2, "price": {"input": 1, "output": 1}, "retries": 9})
    assert fingerprints() != fingerprints(endpoint="http://b/v1")
    assert (
        fingerprints(revision="1") == fingerprints(revision="1", endpoint="http://b/v1") != fingerprints(revision="2")
    )
