"""Build a release: Parquet shards that `datasets.load_dataset` reads, a manifest and a card, in one directory per version.

A release is written under a temporary name and appears by rename; an existing version is never touched. Original image
bytes are stored untouched. Memory is that of about two shards, whatever the size of the release, and 20 bytes for each
image of the version before, whose shards keep their images.
"""

from __future__ import annotations

import json
import re
import tempfile
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exports.abandoned import building_directory
from exports.ahead import read_ahead
from exports.card import write_card
from exports.columns import CAPTION_FIELDS
from exports.manifest import FORMAT, MANIFEST, canonical_json, content_hash, ids_digest, sha256_hex, writer_versions
from exports.membership import Membership
from exports.release_info import ReleaseInfo
from exports.release_row import ReleaseRow, RowBatch, Turn, batches
from exports.shard_file import schema_sha256
from exports.shards import Constants, Shards
from exports.storage import Storage

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "CAPTION_FIELDS",
    "RECIPE",
    "SEMVER",
    "ReleaseError",
    "ReleaseInfo",
    "ReleaseResult",
    "ReleaseRow",
    "RowBatch",
    "Turn",
    "build_release",
    "next_version",
    "read_manifest",
    "released_versions",
]

ROW_GROUP_BYTES = 64_000_000
RECIPE = "recipe.yaml"
SEMVER = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class ReleaseError(Exception):
    """A release cannot be made; the text says why and what to do."""


@dataclass(frozen=True)
class ReleaseResult:
    """Where the release is, and whether it had been there before."""

    version: str
    url: str
    rows: int
    is_new: bool


def build_release(
    rows: Iterable[ReleaseRow | RowBatch],
    to: str,
    version: str,
    info: ReleaseInfo,
    shard_bytes: int,
    *,
    ids: Callable[[], Iterable[pl.Series]] = lambda: (),
    rejected: Callable[[], Iterable[pl.DataFrame]] = lambda: (),
) -> ReleaseResult:
    """Write a release to `<to>/<version>/`.

    Args:
        rows: the images, streamed in any order; each id once.
        to: directory of the versions, local or any fsspec URL.
        version: semantic version, or 'auto' for the next minor one after the newest.
        info: what the release says about itself.
        shard_bytes: about how large a new Parquet file becomes. Images that the newest version has stay in their files.
        ids: the ids of all rows, if they are known before: shards that are complete then need not wait on the disk.
        rejected: captions of images that are not in the release, for the config `rejected`; asked for after the rows.

    Returns:
        Where it is. Where the newest version (or the named one) has the same content, that one, and nothing is written.

    Raises:
        ReleaseError: the version exists with another content, the version before cannot be read, or there is no row.
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
    if version != "auto" and versions and _order(version) < _order(versions[-1]):
        raise ReleaseError(
            f"{_url(home, versions[-1])} is there already and {version} is lower; versions only go up: set release.version to "
            f"{next_version(versions)} (or 'auto')"
        )
    parent = read_manifest(home, versions[-1]) if versions else None
    building = f".building-{uuid.uuid4().hex[:12]}"
    try:
        with building_directory(home, building):
            manifest = _write_files(rows, ids, rejected, home, building, info, shard_bytes, parent)
            for known in existing:
                if content_hash(read_manifest(home, known)) == content_hash(manifest):
                    return ReleaseResult(known, _url(home, known), manifest["rows"], is_new=False)
            chosen = next_version(versions) if version == "auto" else version
            manifest |= {"version": chosen, "parent": parent["version"] if parent else None}
            manifest["changelog"] = [
                {"version": chosen, **manifest.pop("changes")},
                *(parent.get("changelog", []) if parent else []),
            ]
            _add_file(home, building, manifest, "README.md", write_card(info, manifest).encode())
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


# --- files -------------------------------------------------------------------------------------------------------------


def _write_files(
    rows: Iterable[ReleaseRow | RowBatch],
    ids: Callable[[], Iterable[pl.Series]],
    rejected: Callable[[], Iterable[pl.DataFrame]],
    home: Storage,
    building: str,
    info: ReleaseInfo,
    shard_bytes: int,
    parent: dict[str, Any] | None,
) -> dict[str, Any]:
    """Write the files of all configs; returns the manifest so far, with `changes` since the parent."""
    constants = Constants(
        tuple(info.filters),
        tuple(dict.fromkeys(("default", *info.configs))),
        info.run_id,
        info.recipe_id,
        info.image_license,
    )
    membership = _membership(home, parent)
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=home.full(building) if home.is_local else None) as scratch:
        shards = Shards(
            home.child(building),
            Path(scratch),
            constants,
            membership,
            membership.expect(ids()) if parent else {},
            shard_bytes,
            ROW_GROUP_BYTES,
        )
        with shards, read_ahead(batches(rows, info.filters), 2) as ahead:
            for batch in ahead:
                shards.add(batch)
            shards.finish()
            if "rejected" in constants.configs:
                shards.add_rejected(rejected())
            written_files = shards.files
    if not shards.counts["default"].rows:
        raise ReleaseError(
            "no caption was kept, so there is nothing to release; the report shows why captions were dropped"
        )
    prints = {config: schema_sha256(schema) for config, schema in shards.schemas.items()}
    files = sorted((written.path, config, written) for config, written in written_files)
    data = [written for _, config, written in files if config == "default"]
    manifest = {
        "format": FORMAT,
        "name": info.name,
        "license": info.license,
        "image_license": info.image_license,
        "repository": info.repository,
        "limits": info.limits,
        "filters": info.filter_facts,
        "inputs": info.inputs,
        "created_from": {"run_id": info.run_id, "recipe_id": info.recipe_id, "limit": info.limit},
        "writer": writer_versions(),
        "rows": shards.counts["default"].rows,
        "caption_words": shards.counts["default"].words,
        # `datasets` cannot read a config without rows, so there is none.
        "configs": {
            config: {"splits": {"train": vars(counts)}} for config, counts in shards.counts.items() if counts.rows
        },
        "id_sequence_sha256": ids_digest(written.ids_sha256 or "" for written in data),
        "schema": {field.name: str(field.type) for field in shards.schemas["default"]},
        "schemas": {
            config: {field.name: str(field.type) for field in schema} for config, schema in shards.schemas.items()
        },
        "counts": info.provenance.get("counts", {}),
        "next_shard": shards.next_shard,
        "changes": membership.changes(),
        "files": [written.entry(prints[config]) for _, config, written in files],
    }
    if info.provenance.get("recipe"):
        _add_file(home, building, manifest, RECIPE, info.provenance["recipe"].encode())
    return manifest


def _add_file(home: Storage, building: str, manifest: dict[str, Any], path: str, data: bytes) -> None:
    home.write(f"{building}/{path}", data)
    manifest["files"].append({"path": path, "bytes": len(data), "sha256": sha256_hex(data)})


def _membership(home: Storage, parent: dict[str, Any] | None) -> Membership:
    if parent is None:
        return Membership.none()
    try:
        return Membership.of(home, parent)
    except (OSError, ValueError, KeyError) as error:
        raise ReleaseError(
            f"{_url(home, parent['version'])}: its shards cannot be read ({error}), and a new version keeps images in their "
            "shards; put it right (factory verify says what is wrong), or move it away"
        ) from None
