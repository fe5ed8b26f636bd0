"""Pairs of captions as TRL's `DPOTrainer` reads them: one is better than the other, for the same image and question.

Columns `id`, `images`, `prompt`, `chosen`, `rejected`, the last three as conversations. `chosen` is the released caption,
`rejected` the worst candidate of its view and prompt that a filter turned down (`rejected_by`). An image without one is left
out: no_rejected. Read by `DPOTrainer(train_dataset=load_dataset(DIR, split="train"))`. Schema: TRL, "Dataset formats",
vision datasets, preference with explicit prompt.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from exports.formats.example import Example, Options, Tally
from exports.formats.parquet_config import write_shards


def write(examples: Iterable[Example], folder: Path, options: Options, tally: Tally) -> None:
    """Write the examples below `folder`."""
    from datasets import Features, Image, List, Value

    text = Value("string")
    turns = List({"role": text, "content": text})
    features = Features({"id": text, "images": List(Image()), "prompt": turns, "chosen": turns, "rejected": turns})

    def rows() -> Iterable[dict[str, object]]:
        for example in examples:
            tally.wrote(example)
            yield {
                "id": example.id,
                "images": [{"bytes": example.image, "path": example.file_name}],
                "prompt": [{"role": "user", "content": example.question}],
                "chosen": [{"role": "assistant", "content": example.caption}],
                "rejected": [{"role": "assistant", "content": example.rejected}],
            }

    write_shards(rows(), features, folder, "preference", options.shard_mb * 1_000_000)
