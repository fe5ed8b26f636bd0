"""Recipes that tests start from."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

TINY_ENGINE = {"enforce_eager": True, "max_model_len": 512}

DEMO: dict[str, Any] = {
    "name": "test",
    "seed": 5,
    "source": {"kind": "demo", "scenes": 24, "seed": 3},
    "views": [
        {
            "name": "detailed",
            "model": "demo:small",
            "prompts": [
                {"text": "Describe the image in details."},
                {"text": "Elaborate on the visual and narrative elements of the image in detail."},
            ],
            "sampling": {"max_tokens": 96},
            "engine": TINY_ENGINE,
        }
    ],
    "filters": [{"length": {"min_words": 4}}, "repetition", "truncation", "prompt_leak", "refusal", "token_confidence"],
    "select": {"require": {"length": 1.0, "repetition": 0.5}},
}


def demo_recipe(**changes: Any) -> dict[str, Any]:
    """A copy of DEMO with top-level keys replaced."""
    recipe = copy.deepcopy(DEMO)
    recipe.update(changes)
    return recipe


def write_recipe(folder: Path, recipe: dict[str, Any], name: str = "recipe.yaml") -> Path:
    """Write a recipe as YAML."""
    file = folder / name
    file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return file
