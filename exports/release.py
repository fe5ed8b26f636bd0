"""Build a release: Parquet shards that `datasets.load_dataset` reads, a manifest and a card, in one directory per version.

A release is written under a temporary name and appears by rename; an existing version is never touched. Original image
bytes are stored untouched. Memory is that of one row group, whatever the size of the release.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from exports.card import write_card
from exports.manifest import FORMAT, MANIFEST, canonical_json, content_hash, sha256_hex
from exports.storage import Storage

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

ROW_GROUP_BYTES = 64_000_000
SEMVER = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class ReleaseError(Exception):
    """A release cannot be made; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """One image of a release with its captions."""

    id: str
    image: bytes | None  # original bytes; None in a set of captions without images
    file_name: str | None  # suggests a format to readers; never a path of the machine
    caption: str  # the chosen one
    view: str  # its view
    original: str | None
    fields: dict[str, Any]  # what the source says beside: url, license, ...
    sha256: str | None
    width: int | None  # of the source image, pixels as stored
    height: int | None
    scores: dict[str, float | None]  # of the chosen caption, by filter
    captions: list[dict[str, Any]]  # all views and candidates, with lineage (CAPTION_FIELDS)


@dataclass(frozen=True)
class ReleaseInfo:
    """What a release says about itself."""

    name: str
    license: str
    filters: dict[str, str]  # name -> one line
    inputs: str  # fingerprint of what the release is made from; equal inputs are not built twice
    provenance: dict[str, Any] = field(default_factory=dict)  # for the card: models, prompts, sampling, counts, recipe
    image_license: str | None = None  # of all images; None where each row has its own
    limits: dict[str, float] = field(default_factory=dict)  # filter -> least score of any caption that is published


@dataclass(frozen=True)
class ReleaseResult:
    """Where the release is, and whether it had been there before."""

    version: str
    url: str
    rows: int
    is_new: bool


CAPTION_FIELDS = (
    "view", "candidate", "text", "rewritten", "status", "kept", "reason", "finish_reason", "mean_logprob", "min_logprob", "output_tokens",
    "prompt_id", "prompt", "seed", "model", "model_revision", "lora", "template_sha256", "engine", "fingerprint",
)  # fmt: skip


def features(filters: Iterable[str]) -> datasets.Features:
    """The columns of a release as `datasets` features."""
    from datasets import Features, Image, List, Value

    text, number = Value("string"), Value("float64")
    kinds = {"candidate": Value("int16"), "kept": Value("bool"), "mean_logprob": number, "min_logprob": number}
    kinds |= {"output_tokens": Value("int32"), "seed": Value("int64")}
    captions = {name: kinds.get(name, text) for name in CAPTION_FIELDS}
    captions |= {f"score_{name}": number for name in filters}
    columns = {
        "id": text,
        "image": Image(),
        "caption": text,
        "view": text,
        "original": text,
        "source_fields": text,  # JSON
        "sha256": text,
        "width": Value("int32"),
        "height": Value("int32"),
        **{f"score_{name}": number for name in filters},
        "captions": List(captions),
    }
    return Features(columns)


def build_release(
    rows: Iterable[ReleaseRow], to: str, version: str, info: ReleaseInfo, shard_bytes: int
) -> ReleaseResult:
    """Write a release to `<to>/<version>/`.

    Args:
        rows: the images, streamed; their order is the order of the release.
        to: directory of the versions, local or any fsspec URL.
        version: semantic version, or 'auto' for the next minor one after the newest.
        info: what the release says about itself.
        shard_bytes: about how large a Parquet file becomes.

    Returns:
        Where it is. Where the newest version (or the named one) has the same content, that one, and nothing is written.

    Raises:
        ReleaseError: the version exists with another content, or there is no row to release.
    """
    home = Storage(to)
    versions = released_versions(home)
    existing = versions[-1:] if version == "auto" else [one for one in versions if one == version]
    for known in existing:
        manifest = read_manifest(home, known)
        if manifest.get("inputs") == info.inputs:
            return ReleaseResult(known, _url(home, known), manifest["rows"], is_new=False)
    if version != "auto" and existing:
        raise ReleaseError(
            f"{_url(home, version)} exists with another content, and a release never changes; "
            f"set release.version to {next_version(versions)} (or 'auto')"
        )
    building = f".building-{uuid.uuid4().hex[:12]}"
    try:
        manifest = _write_shards(rows, home.child(building), info, shard_bytes)
        if not manifest["rows"]:
            raise ReleaseError(
                "no caption was kept, so there is nothing to release; the report shows why captions were dropped"
            )
        for known in existing:
            if content_hash(read_manifest(home, known)) == content_hash(manifest):
                return ReleaseResult(known, _url(home, known), manifest["rows"], is_new=False)
        chosen = next_version(versions) if version == "auto" else version
        manifest |= {"version": chosen, "parent": versions[-1] if versions else None}
        card = write_card(info, manifest).encode()
        home.write(f"{building}/README.md", card)
        manifest["files"].append({"path": "README.md", "bytes": len(card), "sha256": sha256_hex(card)})
        home.write(f"{building}/{MANIFEST}", canonical_json(manifest))
        if home.exists(chosen):
            raise ReleaseError(f"{_url(home, chosen)} appeared while this release was built; run again")
        home.move(building, chosen)
    finally:
        home.remove_tree(building)
    return ReleaseResult(chosen, _url(home, chosen), manifest["rows"], is_new=True)


def released_versions(home: Storage) -> list[str]:
    """The versions in a directory, oldest first."""
    found = [name for name in home.directories() if SEMVER.fullmatch(name)]
    return sorted(found, key=_order)


def next_version(versions: list[str]) -> str:
    """The next minor version after the newest; 1.0.0 where there is none."""
    if not versions:
        return "1.0.0"
    major, minor, _ = _order(versions[-1])
    return f"{major}.{minor + 1}.0"


def read_manifest(home: Storage, version: str) -> dict[str, Any]:
    """The manifest of a version. Raises ReleaseError where it is missing or damaged."""
    try:
        return json.loads(home.read(f"{version}/{MANIFEST}"))  # type: ignore[no-any-return]
    except FileNotFoundError:
        raise ReleaseError(f"{_url(home, version)} has no {MANIFEST}, so it is no release; move it away") from None
    except ValueError as error:
        raise ReleaseError(f"{_url(home, version)}/{MANIFEST} is damaged: {error}") from None


def _order(version: str) -> tuple[int, int, int]:
    match = SEMVER.fullmatch(version)
    assert match
    return int(match[1]), int(match[2]), int(match[3])


def _url(home: Storage, version: str) -> str:
    return f"{home.url.rstrip('/')}/{version}"


# --- shards ------------------------------------------------------------------------------------------------------------


def _write_shards(rows: Iterable[ReleaseRow], building: Storage, info: ReleaseInfo, shard_bytes: int) -> dict[str, Any]:
    """Write data/train-NNNNN.parquet; returns the manifest so far."""
    schema = features(info.filters).arrow_schema
    building.fs.makedirs(building.full("data"), exist_ok=True)
    files: list[dict[str, Any]] = []
    ids = hashlib.sha256()
    total = words = 0
    for number, groups in enumerate(_shards(_row_groups(rows, schema), shard_bytes)):
        path = f"data/train-{number:05d}.parquet"
        count, size, digest = _write_shard(building, path, groups, schema, ids)
        files.append({"path": path, "bytes": size, "sha256": digest, "rows": count[0]})
        total += count[0]
        words += count[1]
    return {
        "format": FORMAT,
        "name": info.name,
        "license": info.license,
        "image_license": info.image_license,
        "limits": info.limits,
        "inputs": info.inputs,
        "rows": total,
        "caption_words": words,
        "id_sequence_sha256": ids.hexdigest(),
        "schema": {field.name: str(field.type) for field in schema},
        "counts": info.provenance.get("counts", {}),
        "files": files,
    }


def _row_groups(rows: Iterable[ReleaseRow], schema: pa.Schema) -> Iterator[tuple[pa.Table, int]]:
    """Tables of about ROW_GROUP_BYTES, with their size in bytes."""
    import pyarrow as pa

    records: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        records.append(_record(row))
        size += len(row.image or b"") + 2 * len(row.caption) + 500 * len(row.captions)
        if size >= ROW_GROUP_BYTES:
            yield pa.Table.from_pylist(records, schema=schema), size
            records, size = [], 0
    if records:
        yield pa.Table.from_pylist(records, schema=schema), size


def _record(row: ReleaseRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "image": None if row.image is None else {"bytes": row.image, "path": row.file_name},
        "caption": row.caption,
        "view": row.view,
        "original": row.original,
        "source_fields": json.dumps(row.fields, sort_keys=True, default=str) if row.fields else None,
        "sha256": row.sha256,
        "width": row.width,
        "height": row.height,
        **{f"score_{name}": score for name, score in row.scores.items()},
        "captions": row.captions,
    }


def _shards(groups: Iterator[tuple[pa.Table, int]], shard_bytes: int) -> Iterator[Iterator[pa.Table]]:
    """Row groups put together to shards; each shard must be consumed before the next is asked for."""
    pending = next(groups, None)

    def one_shard() -> Iterator[pa.Table]:
        nonlocal pending
        size = 0
        while pending is not None and size < shard_bytes:
            table, bytes_ = pending
            size += bytes_
            yield table
            pending = next(groups, None)

    while pending is not None:
        yield one_shard()


def _write_shard(
    building: Storage, path: str, groups: Iterator[pa.Table], schema: pa.Schema, ids: Any
) -> tuple[tuple[int, int], int, str]:
    """Write one Parquet file; returns ((rows, caption words), bytes, sha256)."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    rows = words = 0
    with building.open(path, "wb") as file:
        counted = _HashingFile(file)
        # Images are compressed already; plain pages keep unchanged images unchanged when only captions change.
        compression = {name: "none" if name.startswith("image.") else "zstd" for name in _leaves(schema)}
        with pq.ParquetWriter(
            counted, schema, compression=compression, use_dictionary=["view"], write_page_index=True
        ) as writer:
            for table in groups:
                writer.write_table(table, row_group_size=table.num_rows)
                rows += table.num_rows
                words += pc.sum(pc.list_value_length(pc.utf8_split_whitespace(table["caption"]))).as_py() or 0
                for name in table["id"].to_pylist():
                    ids.update(name.encode() + b"\n")
    return (rows, words), counted.size, counted.digest.hexdigest()


def _leaves(schema: pa.Schema) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema):
        pass
    parquet = pq.ParquetFile(sink.getvalue()).schema
    return [parquet.column(number).path for number in range(len(parquet))]


class _HashingFile:
    """A file that knows its size and SHA-256 when it is closed, so that nothing is read twice."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.size = 0
        self.digest = hashlib.sha256()
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.digest.update(view)
        self.size += view.nbytes
        self.file.write(view)
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        self.closed = True
