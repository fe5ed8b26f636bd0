"""Pairs for LLaMA-Factory (`stage: dpo`): `train.jsonl`, `dataset_info.json` with `ranking: true`, and image files.

`dataset_dir: DIR`, `media_dir: DIR`, `dataset: preferences`. What a pair is: `exports.formats.preference`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from exports.formats.example import Example, Options, Tally
from exports.formats.image_folder import ImageFolder

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
    images = ImageFolder(folder)
    (folder / "dataset_info.json").write_text(json.dumps(INFO, indent=2) + "\n")
    with (folder / "train.jsonl").open("w", encoding="ascii") as file:
        for example in examples:
            path = images.write(example)
            if path is None:
                tally.leave_out("duplicate_id")
                continue
            tally.wrote(example)
            record = {
                "id": example.id,
                "conversations": [{"from": "human", "value": f"<image>{example.question}"}],
                "chosen": {"from": "gpt", "value": example.caption},
                "rejected": {"from": "gpt", "value": example.rejected},
                "images": [path],
            }
            file.write(json.dumps(record) + "\n")
