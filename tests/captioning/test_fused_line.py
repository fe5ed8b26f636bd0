"""Fusions on real engines: one by the captioner's own engine, one by a tiny language model that takes no images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.command import fail, succeed
from tests.recipes import TINY_ENGINE, demo_recipe, write_recipe

SCENES = 8
WORDS = "a the red green blue circle triangle shape word is at top left . there shapes one two"
TEMPLATE = "{% for message in messages %}{{ message['content'] + ' ' }}{% endfor %}"


def tiny_language_model(folder: Path) -> Path:
    """A random Llama of two layers with a tokenizer of a few words: it writes nonsense, by vLLM's own path of language models."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<end>", *WORDS.split()]
    tokens = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens, unk_token="<unk>", eos_token="<end>", chat_template=TEMPLATE
    )
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=None, eos_token_id=1,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def recipe(model: Path) -> dict[str, Any]:
    views = demo_recipe()["views"]
    same = {"name": "same", "from": ["original", "detailed"], "prompts": ["{original|none} {detailed}"]}
    other = {"name": "other", "from": ["detailed"], "prompts": ["Say it again: {detailed}"], "model": str(model)}
    shared = {"engine": TINY_ENGINE, "sampling": {"max_tokens": 24}}
    views += [same | shared | {"model": "demo:small"}, other | shared]
    source = {"kind": "demo", "scenes": SCENES, "seed": 3, "text": "truth"}
    return demo_recipe(source=source, original=True, views=views, filters=["added_facts"], select={})


def test_fusions_are_made_by_engines_that_see_no_image(tmp_path: Path) -> None:
    model = tiny_language_model(tmp_path / "llama")
    file, out = write_recipe(tmp_path, recipe(model)), tmp_path / "run"
    planned = json.loads(succeed("plan", file, "--out", out, "--json", cwd=tmp_path))
    assert [engine["views"] for engine in planned["engines"]] == [["detailed", "same"], ["other"]]
    answer = json.loads(succeed("run", file, "--out", out, "--json", cwd=tmp_path))
    assert answer["this_time"]["starts"] == {"ray": 1, "engines": 2}
    rows = pl.read_parquet(out / "captions" / "*.parquet")
    detailed = dict(rows.filter(pl.col("view") == "detailed").select("image_key", "text").iter_rows())
    for view in ("same", "other"):
        made = rows.filter(pl.col("view") == view, pl.col("candidate") == 0, pl.col("prompt").is_not_null())
        assert set(made["image_key"]) <= set(detailed)
        for row in made.iter_rows(named=True):
            assert detailed[row["image_key"]] in row["prompt"]
            assert row["width"] is None  # no pixels were sent
        found = answer["selection"]["fusions"][view]
        assert found["fused"] + found["failed"] + sum(found["unfused"].values()) == SCENES
    assert rows.filter(pl.col("view") == "other", pl.col("candidate") == 0).height == SCENES
    again = json.loads(succeed("run", file, "--out", out, "--json", cwd=tmp_path))
    assert again["this_time"]["starts"] == {"ray": 0, "engines": 0}
    assert pl.read_parquet(out / "captions" / "*.parquet").height == rows.height


def test_a_language_model_is_refused_where_images_are_shown(tmp_path: Path) -> None:
    raw = recipe(tiny_language_model(tmp_path / "llama"))
    raw["views"][0]["model"] = raw["views"][2]["model"]
    words = fail("plan", write_recipe(tmp_path, raw), "--out", tmp_path / "run", cwd=tmp_path)
    assert "takes no images" in words


@pytest.mark.slow
def test_a_real_small_language_model_fuses_and_is_checked(tmp_path: Path) -> None:
    from tests.small_language_model import HOW, converted, gguf_file

    if gguf_file() is None:
        pytest.skip(HOW)
    model = str(converted(tmp_path))
    from bench.fusion import demo

    found = demo(model, 24, tmp_path)
    assert found["asked"] > 0
    assert found["words"] > 3
    assert found["lost_facts"] <= found["lost_facts_by_model"] or found["fallbacks"] == 0
