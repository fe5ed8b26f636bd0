"""Pairs for ms-swift (`swift rlhf --rlhf_type dpo --dataset DIR/train.jsonl`): JSON lines and image files.

`messages` ends with the chosen answer, `rejected_response` is the other. Image paths are relative to the directory (`ROOT_IMAGE_DIR`).
What a pair is: `exports.formats.preference`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from exports.formats.example import Example, Options, Tally
from exports.formats.image_folder import write_lines


def write(examples: Iterable[Example], folder: Path, options: Options, tally: Tally) -> None:
    """Write the examples below `folder`. A second row with the same id is left out: duplicate_id."""
    write_lines(examples, folder, tally, _record)


def _record(example: Example, path: str) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": f"<image>{example.question}"},
            {"role": "assistant", "content": example.caption},
        ],
        "rejected_response": example.rejected,
        "images": [path],
    }
