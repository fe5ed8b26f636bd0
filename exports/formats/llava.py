"""LLaVA's and VILA's training data: `train.json`, one JSON list, and image files.

`--data_path DIR/train.json --image_folder DIR`. The question starts with `<image>`, as LLaVA's `LazySupervisedDataset`
expects; nothing else in the texts is a placeholder. Also read by torchtune (`image_dir=DIR`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from exports.formats.example import Example, Options, Tally, conversation
from exports.formats.image_folder import ImageFolder


def write(examples: Iterable[Example], folder: Path, options: Options, tally: Tally) -> None:
    """Write the examples below `folder`. A second row with the same id is left out: duplicate_id."""
    images = ImageFolder(folder)
    with (folder / "train.json").open("w", encoding="ascii") as file:
        separator = "[\n"
        for example in examples:
            path = images.write(example)
            if path is None:
                tally.leave_out("duplicate_id")
                continue
            tally.wrote(example)
            record = {
                "id": example.id,
                "image": path,
                "conversations": conversation(example, "<image>\n"),
            }
            file.write(separator + json.dumps(record))
            separator = ",\n"
        file.write("\n]\n")
