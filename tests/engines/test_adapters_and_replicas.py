"""An adapter changes the captions of its own view alone; several engines share one source."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from factory.demo.checkpoint import checkpoint_path
from tests.command import succeed
from tests.recipes import TINY_ENGINE, demo_recipe, write_recipe

RANK = 4


def write_adapter(folder: Path, part: str = "text_model") -> Path:
    """A LoRA adapter of the demo model with large random weights: of its language model, or of its vision tower."""
    both = json.loads((checkpoint_path("small") / "config.json").read_text())
    config = both["text_config" if part == "text_model" else "vision_config"]
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    width = config.get("head_dim") or hidden // heads
    sizes = {"q_proj": heads * width, "v_proj": config.get("num_key_value_heads", heads) * width}
    torch.manual_seed(0)
    weights = {}
    for layer in range(config["num_hidden_layers"]):
        for name, size in sizes.items():
            place = f"base_model.model.model.{part}.layers.{layer}.self_attn.{name}"
            weights[f"{place}.lora_A.weight"] = torch.randn(RANK, hidden)
            weights[f"{place}.lora_B.weight"] = torch.randn(size, RANK)
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "target_modules": list(sizes), "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "task_type": "CAUSAL_LM"}))
    return folder


@pytest.mark.slow
def test_an_adapter_and_two_engines_each_caption_their_view(tmp_path: Path) -> None:
    view = {
        "model": "demo:small",
        "prompts": [{"text": "Describe the image in details."}],
        "sampling": {"max_tokens": 24},
        "engine": TINY_ENGINE,
    }
    views = [
        {**view, "name": "base", "replicas": 2},
        {**view, "name": "adapted", "lora": str(write_adapter(tmp_path / "adapter")), "canary": False},
        {
            **view,
            "name": "tower",
            "lora": str(write_adapter(tmp_path / "tower", "vision_model.encoder")),
            "canary": False,
        },
    ]
    recipe = demo_recipe(views=views, filters=[], select={"accept": ["ok", "truncated"]})
    recipe["source"] = {"kind": "demo", "scenes": 160, "seed": 3}

    succeed("run", write_recipe(tmp_path, recipe), "--out", tmp_path / "run", timeout=900)

    made = pl.read_parquet(tmp_path / "run" / "captions" / "*.parquet")
    assert made.group_by("view").agg(pl.col("image_key").n_unique()).sort("view").rows() == [
        ("adapted", 160),
        ("base", 160),
        ("tower", 160),
    ]
    texts = {name: dict(rows.select("image_key", "text").iter_rows()) for (name,), rows in made.group_by("view")}
    assert texts["base"] != texts["adapted"]
    assert sum(texts["base"][key] != text for key, text in texts["tower"].items()) > 80
    assert made.filter(pl.col("view") == "base")["lora"].null_count() == 160
    assert made.filter(pl.col("view") == "adapted")["lora"].unique().to_list() == [str(tmp_path / "adapter")]
