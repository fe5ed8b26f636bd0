"""Megatron-Energon: the tars of `webdataset` without its card, and `.nv-meta/` as `energon prepare` makes it.

Read by `get_train_dataset(DIR, ...)` as `CaptioningSample(image, caption)`, with nothing to prepare. Layout: megatron-energon
7.4, flavors/webdataset: `.info.json`, `split.yaml`, `dataset.yaml`, `index.sqlite`, `index.uuid`, and an index beside each tar.
Energon runs at most about 10,000 tars well; raise `shard_mb` beyond.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from exports.formats.example import Example, Options, Tally
from exports.formats.tar_shards import TarShards

META = ".nv-meta"
SEEN = uuid.UUID("6f0b2f5e-6f0c-5f5b-9a3e-0e3f5d3c8a11")  # names the uuids of these indexes
TABLES = (
    "CREATE TABLE samples (tar_file_id INTEGER NOT NULL, sample_key TEXT NOT NULL UNIQUE, sample_index INTEGER NOT NULL, "
    "byte_offset INTEGER, byte_size INTEGER)",
    "CREATE TABLE sample_parts (tar_file_id INTEGER, sample_index INTEGER, part_name TEXT, content_byte_offset INTEGER, "
    "content_byte_size INTEGER)",
)
INDEXES = (
    "CREATE INDEX idx_samples_by_tar_and_idx ON samples(tar_file_id, sample_index)",
    "CREATE INDEX idx_sample_parts_seq ON sample_parts(tar_file_id, sample_index, content_byte_offset)",
    "CREATE INDEX idx_sample_parts_full ON sample_parts(tar_file_id, sample_index, part_name, content_byte_offset, "
    "content_byte_size)",
)


def write(examples: Iterable[Example], folder: Path, options: Options, tally: Tally) -> None:
    """Write the examples below `folder`. A second row with the same id is left out: duplicate_id."""
    meta = folder / META
    meta.mkdir()
    shards = TarShards(folder, options.shard_mb * 1_000_000)
    extensions: set[str] = set()
    index = sqlite3.connect(meta / "index.sqlite", isolation_level=None)
    offsets: IO[bytes] | None = None
    try:
        index.execute("PRAGMA journal_mode = OFF")  # the directory is whole or absent, the database need not be
        index.execute("PRAGMA synchronous = OFF")
        for statement in TABLES:
            index.execute(statement)
        for example in examples:
            if index.execute("SELECT 1 FROM samples WHERE sample_key = ?", (example.key,)).fetchone():
                tally.leave_out("duplicate_id")
                continue
            tars, end = len(shards.names), shards.position
            parts = {
                example.extension: example.image,
                "json": json.dumps({**example.fields, "question": example.question}).encode(),
                "txt": example.caption.encode(),
            }
            sample = shards.add(example.key, parts)
            if len(shards.names) > tars:
                _end(offsets, end)
                offsets = (folder / f"{shards.names[-1]}.idx").open("wb")
            assert offsets is not None
            offsets.write(struct.pack("<Q", sample.offset))
            tar, place = len(shards.names) - 1, shards.counts[-1] - 1
            index.execute(
                "INSERT INTO samples VALUES (?, ?, ?, ?, ?)", (tar, sample.key, place, sample.offset, sample.size)
            )
            index.executemany(
                "INSERT INTO sample_parts VALUES (?, ?, ?, ?, ?)",
                [(tar, place, part.name, part.offset, part.size) for part in sample.parts],
            )
            extensions.add(example.extension)
            tally.wrote(example)
        _end(offsets, shards.position)
        shards.close()
        for statement in INDEXES:
            index.execute(statement)
    finally:
        index.close()
    _write_meta(meta, shards, sorted(extensions))


def _end(offsets: IO[bytes] | None, end: int) -> None:
    if offsets is not None:
        offsets.write(struct.pack("<Q", end))
        offsets.close()


def _write_meta(meta: Path, shards: TarShards, extensions: list[str]) -> None:
    import yaml

    counts = dict(zip(shards.names, shards.counts, strict=True))
    (meta / ".info.json").write_text(json.dumps({"shard_counts": counts}, indent=2) + "\n")
    split = {"split_parts": {"train": shards.names, "val": [], "test": []}, "exclude": []}
    (meta / "split.yaml").write_text(yaml.safe_dump(split, sort_keys=False))
    dataset = {
        "sample_type": {"__module__": "megatron.energon", "__class__": "CaptioningSample"},
        "field_map": {"image": ",".join(extensions), "caption": "txt"},
    }
    (meta / "dataset.yaml").write_text(yaml.safe_dump(dataset, sort_keys=False))
    (meta / "index.uuid").write_text(str(uuid.uuid5(SEEN, "\n".join(shards.digests))))
