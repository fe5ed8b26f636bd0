"""Pairs for LLaMA-Factory (`stage: dpo`): `train.jsonl`, `dataset_info.json` with `ranking: true`, and image files.

`dataset_dir: DIR`, `media_dir: DIR`, `dataset: preferences`. What a pair is: `exports.formats.preference`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from exports.formats.example import Example, Options, Tally
from exports.formats.image_folder import write_lines

INFO = {
    "preferences": {
        "file_name": "train.jsonl",
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "images": "images"},
        "tags": {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"},
    }
}


def write(examples: Iterable[Example], folder: Path, options: Options, tally: Tally) -> None:
    """Write the examples below `folder`. A second row with the same id is left out: duplicate_id."""
    (folder / "dataset_info.json").write_text(json.dumps(INFO, indent=2) + "\n")
    write_lines(examples, folder, tally, _record)


def _record(example: Example, path: str) -> dict[str, Any]:
    return {
        "id": example.id,
        "conversations": [{"from": "human", "value": f"<image>{example.question}"}],
        "chosen": {"from": "gpt", "value": example.caption},
        "rejected": {"from": "gpt", "value": example.rejected},
        "images": [path],
    }
