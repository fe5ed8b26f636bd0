"""WebDataset: `train-NNNNN.tar` with KEY.jpg, KEY.txt (the caption as released) and KEY.json (the flat columns).

Read by webdataset, OpenCLIP, img2dataset's tools and `datasets.load_dataset(DIR)`. A sample has one image, under `jpg`
whatever its kind, as trainers take one column and decoders go by the bytes. The card declares the columns, because `datasets`
otherwise takes them from the first five samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from exports.formats.example import Example, Options, Tally
from exports.formats.tar_shards import TarShards

IMAGE = "jpg"
DTYPES = {"double": "float64", "float": "float32", "halffloat": "float16"}  # Arrow's name -> that of `datasets`


def write(examples: Iterable[Example], folder: Path, options: Options, tally: Tally, schema: dict[str, str]) -> None:
    """Write the examples below `folder`. A second row with the same id in a tar is left out: duplicate_id.

    `schema`: the release's flat columns and their Arrow types.
    """
    shards = TarShards(folder, options.shard_mb * 1_000_000)
    for example in examples:
        if shards.holds(example.key):
            tally.leave_out("duplicate_id")
            continue
        shards.add(
            example.key,
            {
                IMAGE: example.image,
                "json": json.dumps(example.fields).encode(),
                "txt": example.caption.encode(),
            },
        )
        tally.wrote(example)
    shards.close()
    (folder / "README.md").write_text(_card(schema))


def _card(schema: dict[str, str]) -> str:
    import yaml

    fields = [{"name": name, "dtype": DTYPES.get(kind, kind)} for name, kind in schema.items()]
    columns: list[dict[str, Any]] = [{"name": IMAGE, "dtype": "image"}]
    columns += [{"name": "json", "struct": fields}]
    columns += [{"name": name, "dtype": "string"} for name in ("txt", "__key__", "__url__")]
    config = {"config_name": "default", "data_files": [{"split": "train", "path": "train-*.tar"}]}
    metadata = {"configs": [config], "dataset_info": {"features": columns}}
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n"
