"""Image files beside a list of conversations, as LLaVA and LLaMA-Factory read them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from exports.formats.example import Example

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
