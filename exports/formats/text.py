"""The captions alone: one a line, white space runs made one space, for language models and word budgets.

`train-NNNNN.txt`; how many words they hold, between white space, is in `export.json`. Captions are otherwise as released.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from exports.formats.example import Example, Options, Tally


def write(examples: Iterable[Example], folder: Path, options: Options, tally: Tally) -> None:
    """Write the captions below `folder`."""
    limit = options.shard_mb * 1_000_000
    number = size = 0
    file = _open(folder, number)
    try:
        for example in examples:
            line = (" ".join(example.caption.split()) + "\n").encode()
            if size and size + len(line) > limit:
                file.close()
                number, size = number + 1, 0
                file = _open(folder, number)
            file.write(line)
            size += len(line)
            tally.wrote(example)
    finally:
        file.close()


def _open(folder: Path, number: int):  # type: ignore[no-untyped-def]
    return (folder / f"train-{number:05d}.txt").open("wb")
