"""One conversation an image, as chat trainers read it (TRL, ms-swift, Axolotl): columns `id`, `images`, `messages`.

TRL trains on every token of these, the question and the image placeholders too, unless `assistant_only_loss=True` and the
chat template marks its answers; `sft` has the loss on the caption alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from exports.features import Features, Image, List, Value
from exports.formats.example import Example, Options, Tally
from exports.formats.parquet_config import write_shards


def write(examples: Iterable[Example], folder: Path, options: Options, tally: Tally) -> None:
    """Write the examples below `folder`."""
    text = Value("string")
    features = Features({"id": text, "images": List(Image()), "messages": List({"role": text, "content": text})})

    def rows() -> Iterable[dict[str, object]]:
        for example in examples:
            tally.wrote(example)
            yield {
                "id": example.id,
                "images": [{"bytes": example.image, "path": example.file_name}],
                "messages": [
                    {"role": role, "content": text}
                    for turn in example.turns
                    for role, text in zip(("user", "assistant"), turn, strict=True)
                ],
            }

    write_shards(rows(), features, folder, "messages", options.shard_mb * 1_000_000)
