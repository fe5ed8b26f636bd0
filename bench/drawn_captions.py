"""Captions to measure with: of people and of VLMs from a folder, or drawn from a small grammar where there is none."""

from __future__ import annotations

import json
import random
from pathlib import Path

THINGS = (
    *("dog", "cat", "man", "woman", "bus", "train", "plate", "kite", "horse", "boat", "lamp", "child", "chair"),
    "tree",
)
LOOKS = ("red", "small", "old", "wooden", "shiny", "wet", "tall", "striped", "empty", "white")
DOES = ("stands", "sits", "runs", "waits", "lies", "leans", "hangs", "looks")
WHERE = (
    *("on a street", "in a park", "near the water", "under a bridge", "beside a wall", "in front of a house"),
    "at a table",
)


def captions_of(folder: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The human captions of the folder (`gcc_validation.txt`, one a line) and those of each VLM (`vlm_*.jsonl`: `text`)."""
    vlm = {
        file.stem: [json.loads(line)["text"] for line in file.read_text().splitlines()]
        for file in sorted(folder.glob("vlm_*.jsonl"))
    }
    return human_captions(folder), vlm


def human_captions(folder: Path | None, seed: int = 0, count: int = 20_000) -> list[str]:
    """Those of the folder; without one `count` of one to eight sentences, drawn."""
    if folder is not None:
        return (folder / "gcc_validation.txt").read_text().splitlines()
    rng = random.Random(seed)

    def sentence() -> str:
        return f"A {rng.choice(LOOKS)} {rng.choice(THINGS)} {rng.choice(DOES)} {rng.choice(WHERE)}."

    return [" ".join(sentence() for _ in range(rng.randint(1, 8))) for _ in range(count)]
