"""An adapter says by the names of its weights what it changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from factory.models.adapter_weights import beside_the_language_model


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.text_model.layers.0.mlp.up_proj.lora_A.weight",
        "base_model.model.model.layers.7.self_attn.q_proj.lora_B.weight",
        "base_model.model.lm_head.lora_A.weight",
        "base_model.model.language_model.model.layers.1.mlp.gate_proj.lora_A.weight",
    ],
)
def test_weights_of_the_language_model(name: str, tmp_path: Path) -> None:
    save_file({name: torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    assert beside_the_language_model(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.vision_model.encoder.layers.0.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.visual.blocks.3.attn.qkv.lora_A.weight",
        "base_model.model.model.visual.merger.mlp.0.lora_A.weight",
        "base_model.model.model.connector.modality_projection.proj.lora_B.weight",
        "base_model.model.vision_tower.vision_model.encoder.layers.0.mlp.fc1.lora_A.weight",
        "base_model.model.multi_modal_projector.linear_1.lora_A.weight",
    ],
)
def test_weights_of_the_tower_and_of_what_connects_it(name: str, tmp_path: Path) -> None:
    save_file({name: torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    assert beside_the_language_model(tmp_path) == [name]


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 16, (4).to_bytes(8, "little") + b"[[[["])
def test_what_is_no_adapter_names_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(content)
    assert beside_the_language_model(tmp_path) == []
    assert beside_the_language_model(tmp_path / "nowhere") == []
