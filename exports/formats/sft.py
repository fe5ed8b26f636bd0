"""TRL's vision prompt/completion: the loss is on the caption alone.

Columns `id`, `images`, `prompt`, `completion`, the last two as conversations, so that the model's own chat template is used.
A release with several questions an image gives a row for each answer, the turns before it in the prompt.
Read by `SFTTrainer(train_dataset=load_dataset(DIR, split="train"))` and `trl sft --dataset_name DIR`; set
`max_length=None`, because truncation can cut image tokens. Schema: TRL, "Dataset formats", vision datasets.
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
    turns = List({"role": text, "content": text})
    features = Features({"id": text, "images": List(Image()), "prompt": turns, "completion": turns})

    def rows() -> Iterable[dict[str, object]]:
        for example in examples:
            tally.wrote(example)
            said: list[dict[str, str]] = []
            for question, answer in example.turns:
                said.append({"role": "user", "content": question})
                yield {
                    "id": example.id,
                    "images": [{"bytes": example.image, "path": example.file_name}],
                    "prompt": list(said),
                    "completion": [{"role": "assistant", "content": answer}],
                }
                said.append({"role": "assistant", "content": answer})

    write_shards(rows(), features, folder, "sft", options.shard_mb * 1_000_000)
