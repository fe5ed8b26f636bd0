"""Pairs for ms-swift (`swift rlhf --rlhf_type dpo --dataset DIR/train.jsonl`): JSON lines and image files.

`messages` ends with the chosen answer, `rejected_response` is the other. Image paths are relative to the directory (`ROOT_IMAGE_DIR`).
What a pair is: `exports.formats.preference`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from exports.formats.example import Example, Options, Tally
from exports.formats.image_folder import ImageFolder


def write(examples: Iterable[Example], folder: Path, options: Options, tally: Tally) -> None:
    """Write the examples below `folder`. A second row with the same id is left out: duplicate_id."""
    images = ImageFolder(folder)
    with (folder / "train.jsonl").open("w", encoding="ascii") as file:
        for example in examples:
            path = images.write(example)
            if path is None:
                tally.leave_out("duplicate_id")
                continue
            tally.wrote(example)
            record = {
                "messages": [
                    {"role": "user", "content": f"<image>{example.question}"},
                    {"role": "assistant", "content": example.caption},
                ],
                "rejected_response": example.rejected,
                "images": [path],
            }
            file.write(json.dumps(record) + "\n")
