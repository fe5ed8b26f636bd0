"""The parts of a vision-language model by the names of their weights: tower, connector, language."""

from __future__ import annotations

import re
from typing import Any, Final

from factory.errors import TrainingError
from factory.rounds.training_settings import ModelPart

CONNECTOR: Final = re.compile(
    r"(^|\.)(connector|\w*projector\w*|\w*merger\w*|aligner|mlp1|resampler|\w*qformer)(\.|_|$)"
)
TOWER: Final = re.compile(r"(^|\.)(vision\w*|visual\w*|image_encoder|vpm|vit)(\.|$)")
"""Names used by transformers' models (Idefics3, SmolVLM, Qwen-VL, LLaVA, InternVL, Gemma3, PaliGemma, BLIP-2, MiniCPM-V)."""


def part_of(weight: str) -> ModelPart:
    """The part that a weight of this name belongs to; Qwen-VL's merger lies within its tower and is its connector."""
    if CONNECTOR.search(weight):
        return "connector"
    return "tower" if TOWER.search(weight) else "language"


def freeze_others(model: Any, train: tuple[ModelPart, ...]) -> None:
    """Let these parts learn and no other. Raises TrainingError where the model has no such part."""
    found: set[ModelPart] = set()
    for name, weight in model.named_parameters():
        part = part_of(name)
        found.add(part)
        weight.requires_grad_(part in train)
    missing = [part for part in train if part not in found]
    if missing:
        raise TrainingError(
            f"train: this {type(model).__name__} has no {', '.join(missing)}; it has {', '.join(sorted(found))}"
        )


def adapted_layers(model: Any, train: tuple[ModelPart, ...]) -> list[str]:
    """The linear layers of these parts, which get adapters; not the head, which may share its weights with the embedding."""
    import torch

    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and part_of(name) in train and not name.endswith("lm_head")
    ]
