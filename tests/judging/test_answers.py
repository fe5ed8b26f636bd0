"""Filters that ask get their answers from a real engine: the captioner's own, another one, or a server's."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from factory.demo.checkpoint import checkpoint_path
from tests.command import factory, fail, succeed
from tests.recipes import TINY_ENGINE, demo_recipe, write_recipe

SCENES = 40
SHORT = "Describe the image in detail. {sentences}"  # what the demo model has room for


def recipe(**changes: object) -> dict[str, object]:
    view = {
        "name": "detailed",
        "model": "demo:small",
        "prompts": [{"text": "Describe the image in details."}],
        "sampling": {"temperature": 0.7, "max_tokens": 96, "n": 2},
        "engine": TINY_ENGINE,
    }
    return demo_recipe(
        source={"kind": "demo", "scenes": SCENES, "seed": 3},
        views=[view],
        filters=["token_confidence", "vqa_faithfulness", "consistency", "claims"],
        select={"best_of": "vqa_faithfulness"},
        **changes,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose captioner answered for its own captions."""
    folder = tmp_path_factory.mktemp("answers")
    succeed("run", write_recipe(folder, recipe()), "--out", folder / "run")
    return folder / "run"


def scores(run: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(run / "scores" / name / "*.parquet")


def test_the_captioner_answers_for_each_sentence_while_it_has_the_image(run: Path) -> None:
    captions = pl.read_parquet(run / "captions" / "*.parquet").filter(pl.col("status") == "ok")
    scored = captions.join(scores(run, "vqa_faithfulness"), on=["image_key", "view", "candidate"])

    assert scored.height == captions.height
    assert scored["score"].null_count() == 0
    assert (scored["sentences"].list.len() == scored["sentence_logprobs"].list.len()).all()
    assert scored["elsewhere"].max() < 0.05  # type: ignore[operator]
    assert not (run / "wanted").exists() or not list((run / "wanted").rglob("*.parquet"))


def test_other_images_and_blank_ones_are_asked_about_for_comparison(run: Path) -> None:
    answers = pl.concat([pl.read_parquet(file) for file in (run / "answers").rglob("*.parquet")])
    yes = answers.group_by(pl.col("control").fill_null("own")).agg(
        (pl.col("values").list.first() / pl.col("values").list.sum()).mean()
    )
    share = dict(yes.iter_rows())

    assert share["own"] > share["shuffled"] + 0.2
    assert share["own"] > share["blank"] + 0.2


def test_sentences_are_compared_with_the_truth(run: Path) -> None:
    found = json.loads(succeed("evaluate", run, "--json"))

    assert found["captions"] == 2 * SCENES
    assert 0.7 < found["precision"]["before"]["value"] < 0.95
    assert set(found["auroc"]) == {"token_confidence", "vqa_faithfulness", "consistency", "claims"}
    assert found["auroc"]["consistency"]["value"] > 0.6


def test_a_filter_that_comes_later_is_answered_without_a_caption_made_again(run: Path, tmp_path: Path) -> None:
    before = pl.read_parquet(run / "captions" / "*.parquet").sort("image_key", "candidate")
    judged = {file.name for file in (run / "scores" / "vqa_faithfulness").iterdir()}
    cut = round(float(scores(run, "vqa_faithfulness")["score"].median()), 4)  # type: ignore[arg-type]
    later = recipe()
    later["filters"] = [*later["filters"], {"caption_likelihood": {"when": f"vqa_faithfulness below {cut}"}}]  # type: ignore[misc]

    succeed("run", write_recipe(tmp_path, later), "--out", run)

    after = pl.read_parquet(run / "captions" / "*.parquet").sort("image_key", "candidate")
    assert after.equals(before)
    assert {file.name for file in (run / "scores" / "vqa_faithfulness").iterdir()} == judged
    both = scores(run, "caption_likelihood").join(
        scores(run, "vqa_faithfulness"), on=["image_key", "view", "candidate"], suffix="_vqa"
    )
    asked = both.filter(pl.col("score").is_not_null())
    assert 0 < asked.height < both.height
    assert asked["score_vqa"].max() < cut  # type: ignore[operator]
    assert both.filter(pl.col("score").is_null())["score_vqa"].min() >= cut  # type: ignore[operator]


def test_claims_are_asked_alone_and_those_of_what_is_not_there_not_at_all(run: Path) -> None:
    found = scores(run, "claims")
    claims = found.explode("claims").unnest("claims", separator=".").drop_nulls("claims.kind")
    skipped = claims.filter(pl.col("claims.state") == "skipped")
    asked = pl.concat([pl.read_parquet(file) for file in (run / "answers").rglob("*.parquet")])["asked"].to_list()

    assert found["score"].null_count() == 0
    assert {"object", "attribute", "count", "relation"} <= set(claims["claims.kind"])
    assert 0 < skipped.height < claims.height / 2
    assert skipped["claims.score"].max() < 0.5  # type: ignore[operator]
    assert any("There is a circle." in text for text in asked)


def test_a_model_that_cannot_list_claims_leaves_its_words_and_no_score(run: Path, tmp_path: Path) -> None:
    for file in (run / "answers").rglob("*.parquet"):  # as they were before there were open questions
        pl.read_parquet(file).drop("said").write_parquet(file)
    later = recipe()
    later["filters"] = [*later["filters"][:3], {"claims": {"decompose": "judge", "prompt": SHORT, "reply_tokens": 8}}]  # type: ignore[index]

    succeed("run", write_recipe(tmp_path, later), "--out", run)

    answers = pl.concat([pl.read_parquet(file) for file in (run / "answers").rglob("*.parquet")], how="diagonal")
    said = answers["said"].drop_nulls()
    unread = [pl.read_parquet(file) for file in (run / "scores" / "claims").iterdir()]
    reasons = pl.concat(unread).filter(pl.col("score").is_null())["reason"]
    assert said.len() > 0
    assert said.str.len_chars().max() > 1  # type: ignore[operator]
    assert reasons.drop_nulls().str.contains("the judge's reply").any()
    assert reasons.null_count() == 0


def test_a_condition_about_a_filter_that_is_not_there_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    wrong = recipe()
    wrong["filters"] = [{"vqa_faithfulness": {"when": "alignment below 0.5"}}]
    wrong["select"] = {}

    assert "alignment" in fail("plan", write_recipe(tmp_path, wrong), "--out", tmp_path / "run")


def test_captions_of_others_need_a_judge_with_a_name(tmp_path: Path) -> None:
    others = recipe(original=True)
    del others["views"]
    others["filters"] = ["vqa_faithfulness"]

    message = fail("plan", write_recipe(tmp_path, others), "--out", tmp_path / "run")

    assert "name a judge" in message


def test_an_endpoint_where_nobody_answers_is_one_message(tmp_path: Path) -> None:
    others = recipe(original=True)
    del others["views"]
    others["filters"] = [{"vqa_faithfulness": {"judge": {"endpoint": "http://127.0.0.1:9/v1", "model": "judge"}}}]

    message = fail("run", write_recipe(tmp_path, others), "--out", tmp_path / "run")

    assert "http://127.0.0.1:9/v1: no server with the OpenAI API answers there" in message


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """vLLM's own server with the demo model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = ["vllm.entrypoints.openai.api_server", "--model", str(checkpoint_path()), "--served-model-name", "judge"]
    options = ["--enforce-eager", "--max-model-len", "512", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as file:
        environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", *command, *options], stdout=file, stderr=file, env=environment
        )
        try:
            for _ in range(240):
                assert process.poll() is None, log.read_text()[-3000:]
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                    break
                except OSError:
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.slow
def test_a_server_answers_as_the_engine_does(run: Path, server: str, tmp_path: Path) -> None:
    served = recipe()
    served["filters"] = [{"vqa_faithfulness": {"judge": {"endpoint": server, "model": "judge"}}}]
    succeed("run", write_recipe(tmp_path, recipe()), "--out", tmp_path / "run")
    own = scores(tmp_path / "run", "vqa_faithfulness")

    succeed("run", write_recipe(tmp_path, served, "served.yaml"), "--out", tmp_path / "run")

    theirs = scores(tmp_path / "run", "vqa_faithfulness").join(
        own, on=["image_key", "view", "candidate", "caption_fingerprint"], suffix="_own"
    )
    assert (theirs["score"] - theirs["score_own"]).abs().max() < 0.05  # type: ignore[operator]


@pytest.mark.slow
def test_a_server_that_serves_another_model_is_named(server: str, tmp_path: Path) -> None:
    served = recipe(original=True)
    del served["views"]
    served["filters"] = [{"vqa_faithfulness": {"judge": {"endpoint": server, "model": "other"}}}]

    done = factory("run", write_recipe(tmp_path, served), "--out", tmp_path / "run")

    assert "serves judge, not other" in done.stderr
