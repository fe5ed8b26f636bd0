"""ShareGPT conversations for LLaMA-Factory: `train.jsonl`, `dataset_info.json` and image files.

`dataset_dir: DIR`, `media_dir: DIR`, `dataset: captions`. LLaMA-Factory wants as many `<image>` in a conversation as it has
images, so the texts hold no other. ms-swift reads `train.jsonl` as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from exports.formats.example import Example, Options, Tally, conversation
from exports.formats.image_folder import write_lines

INFO = {
    "captions": {
        "file_name": "train.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "images": "images"},
        "tags": {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"},
    }
}


def write(examples: Iterable[Example], folder: Path, options: Options, tally: Tally) -> None:
    """Write the examples below `folder`. A second row with the same id is left out: duplicate_id."""
    (folder / "dataset_info.json").write_text(json.dumps(INFO, indent=2) + "\n")
    write_lines(examples, folder, tally, _record)


def _record(example: Example, path: str) -> dict[str, Any]:
    return {"id": example.id, "conversations": conversation(example, "<image>"), "images": [path]}
