"""A view behind a server: a run like any other. The server is real and on this machine; its words are chosen here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.command import succeed
from tests.judge_server import serving
from tests.recipes import demo_recipe, write_recipe


def caption(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Another text for another picture, as a model that sees has."""
    picture = request["messages"][-1]["content"][0]["image_url"]["url"]
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {
            "role": "assistant",
            "content": f"<think>Let me see.</think>A scene that I call {hash(picture) % 10**6}.",
        },
        "logprobs": None,
    }
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return 200, {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "org/big",
        "choices": [choice],
        "usage": usage,
    }


@pytest.mark.slow
def test_a_run_whose_captioner_is_a_server_resumes_and_adds_up_its_cost(tmp_path: Path) -> None:
    with serving() as server:
        server.models, server.reply = ("org/big",), caption
        price = {"input": 1.0, "output": 10.0}
        model = {"endpoint": server.url, "name": "org/big", "price": price, "requests_per_minute": 60_000}
        view = {"name": "self", "model": model, "revision": "2026-01", "prompts": ["Describe the image."]}
        recipe = demo_recipe(views=[view], filters=["length"], select={})
        file, out = write_recipe(tmp_path, recipe), tmp_path / "run"

        planned = succeed("plan", file, "--out", out)
        assert "server org/big at" in planned
        succeed("run", file, "--out", out, "--limit", 8, timeout=900)
        asked = len(server.requests)
        model["price"] = {"input": 2.0, "output": 10.0}  # the price and the pace are no part of a caption
        model["at_once"] = 4
        succeed("run", write_recipe(tmp_path, recipe), "--out", out, timeout=900)

        rows = pl.read_parquet(out / "captions" / "*.parquet")
        assert rows["image_key"].n_unique() == rows.height == 24
        assert rows["status"].unique().to_list() == ["ok"]
        assert not rows["text"].str.contains("think").any()
        assert rows["reasoning"].unique().to_list() == ["Let me see."]
        assert rows["model"].unique().to_list() == ["org/big"]
        assert rows["cost"].sum() == pytest.approx((8 * 300 + 16 * 400) / 1e6)
        assert asked + 16 <= len(server.requests) <= asked + 16 + 6  # and the canary's six
        metrics = json.loads((out / "metrics.json").read_text())
        assert metrics["images"]["ok"] == 24
        assert metrics["cost"] == pytest.approx(rows["cost"].sum())
