"""Parquet shards with a card, as `datasets.load_dataset(DIR)` reads them: what sft, messages and mixtures share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from exports.features import Features

ROW_GROUP_BYTES = 32_000_000
CARD = """---
configs:
- config_name: {name}
  default: true
  data_files:
  - split: train
    path: data/train-*.parquet
---
"""


def write_shards(rows: Iterable[dict[str, Any]], features: Features, folder: Path, name: str, shard_bytes: int) -> None:
    """Write `data/train-NNNNN.parquet` and the card. Memory is that of one row group.

    Args:
        rows: rows with `images`: [{"bytes", "path"}]; iterated once.
        features: their columns.
        folder: an empty directory.
        name: of the config in the card.
        shard_bytes: about how large a file becomes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = features.arrow_schema
    (folder / "data").mkdir()
    # Images are compressed already; the rest is text.
    compression = {leaf: "none" if leaf.endswith(".bytes") else "zstd" for leaf in _leaves(schema)}
    groups = _groups(rows)
    group = next(groups, None)
    number = 0
    while group is not None:
        path = folder / "data" / f"train-{number:05d}.parquet"
        with pq.ParquetWriter(
            path, schema, compression=compression, use_dictionary=False, write_page_index=True
        ) as writer:
            size = 0
            while group is not None and size < shard_bytes:
                writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=len(group))
                size += sum(_bytes(row) for row in group)
                group = next(groups, None)
        number += 1
    (folder / "README.md").write_text(CARD.format(name=name))


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += _bytes(row)
        if size >= ROW_GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _bytes(row: dict[str, Any]) -> int:
    texts = [row.get("text"), *(row.get("texts") or ())]  # documents of a mixture may be long
    return sum(len(image["bytes"]) for image in row["images"]) + sum(len(text) for text in texts if text) + 1000


def _leaves(schema: Any) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema):
        pass
    parquet = pq.ParquetFile(sink.getvalue()).schema
    return [parquet.column(number).path for number in range(len(parquet))]
