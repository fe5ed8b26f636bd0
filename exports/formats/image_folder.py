"""Image files beside a list of conversations, as LLaVA and LLaMA-Factory read them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exports.formats.example import Example, Tally

FOLDER = "images"


@dataclass(frozen=True)
class ImageFolder:
    """Writes `images/3f2/KEY.jpg`: 4,096 folders, so that none holds too many files, and an id has one place."""

    root: Path

    def write(self, example: Example) -> str | None:
        """Write the original bytes. Returns the path below the root, None where the id has an image already."""
        folder = hashlib.sha256(example.key.encode()).hexdigest()[:3]
        path = f"{FOLDER}/{folder}/{example.file_name}"
        (self.root / FOLDER / folder).mkdir(parents=True, exist_ok=True)
        try:
            with (self.root / path).open("xb") as file:
                file.write(example.image)
        except FileExistsError:
            return None
        return path


def write_lines(
    examples: Iterable[Example], folder: Path, tally: Tally, record: Callable[[Example, str], dict[str, Any]]
) -> None:
    """Write `train.jsonl` and the image files. `record` makes a line of an example and its image's path below `folder`.

    A second row with the same id is left out: duplicate_id.
    """
    images = ImageFolder(folder)
    with (folder / "train.jsonl").open("w", encoding="ascii") as file:
        for example in examples:
            path = images.write(example)
            if path is None:
                tally.leave_out("duplicate_id")
                continue
            tally.wrote(example)
            file.write(json.dumps(record(example, path)) + "\n")
