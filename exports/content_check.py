"""Whether a release is what its manifest says of it: rows, ids, columns, version, licence. Bytes are compared elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import IO, Any

from exports.local_release import CARD, ReleaseFile
from exports.manifest import canonical_json, ids_digest, sha256_hex
from exports.release import SEMVER

Open = Callable[[str], AbstractContextManager[IO[bytes]]]
BATCH = 65_536


def content_problems(
    manifest: dict[str, Any], files: Iterable[ReleaseFile], open_file: Open, folder_name: str | None
) -> list[str]:
    """What is not as the manifest says; [] where all is.

    Args:
        manifest: of the release. What it does not say (as manifests of other makers may not) is not compared.
        files: those whose bytes are right; of Parquet files the footer and the column of ids are read.
        open_file: opens a file of the release at its path.
        folder_name: the name of the directory; None where it says nothing of the version.
    """
    entries = {one["path"]: one for one in manifest["files"]}
    found: list[str] = []
    rows: dict[str, int] = {}
    ids: dict[str, str] = {}
    for file in files:
        if file.path == CARD:
            with open_file(file.path) as handle:
                found += _card(manifest, handle.read())
        if not file.is_data or file.path not in entries:
            continue
        problems, count, digest = _data(entries[file.path], file.path, open_file)
        found += problems
        folder = file.path.split("/")[0]
        rows[folder] = rows.get(folder, 0) + count
        ids[file.path] = digest or ""
    if folder_name is not None and SEMVER.fullmatch(folder_name) and folder_name != manifest["version"]:
        found.append(f"manifest.json: version {manifest['version']} in the directory {folder_name}")
    return found + _totals(manifest, rows, ids)


def _data(entry: dict[str, Any], path: str, open_file: Open) -> tuple[list[str], int, str | None]:
    """Problems of a file of rows, its rows, and the digest of its ids."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    try:
        with open_file(path) as handle, pq.ParquetFile(handle) as table:
            rows, groups, schema = table.metadata.num_rows, table.metadata.num_row_groups, table.schema_arrow
            digest = hashlib.sha256()
            if "id" in schema.names:
                for batch in table.iter_batches(BATCH, columns=["id"]):
                    digest.update("".join(f"{name}\n" for name in batch["id"].to_pylist()).encode())
    except (pa.ArrowException, OSError, ValueError) as error:
        return [f"{path}: cannot be read as Parquet ({str(error).splitlines()[0][:200]})"], 0, None
    kinds = {field.name: str(field.type) for field in schema}
    columns = sha256_hex(canonical_json(kinds))
    if columns != entry.get("schema_sha256"):  # a list's element has another name in Parquet than in Arrow
        columns = sha256_hex(
            canonical_json({name: kind.replace("<element: ", "<item: ") for name, kind in kinds.items()})
        )
    ids = digest.hexdigest() if "id" in schema.names else None
    said = {"rows": rows, "row_groups": groups, "schema_sha256": columns, "ids_sha256": ids}
    names = {"rows": "rows", "row_groups": "row groups", "schema_sha256": "columns", "ids_sha256": "ids"}
    for key, value in said.items():
        if entry.get(key) is not None and entry[key] != value:
            numbers = (
                f": {value:,} instead of {entry[key]:,}"
                if isinstance(value, int) and isinstance(entry[key], int)
                else ""
            )
            found.append(f"{path}: other {names[key]} than the manifest says{numbers}")
    return found, rows, ids


def _totals(manifest: dict[str, Any], rows: dict[str, int], ids: dict[str, str]) -> list[str]:
    found = []
    configs = manifest.get("configs")
    for name, config in (configs if isinstance(configs, dict) else {}).items():
        folder = "data" if name == "default" else name
        splits = config.get("splits") if isinstance(config, dict) else None
        said = sum(int(split.get("rows") or 0) for split in (splits or {}).values())
        if said != rows.get(folder, 0):
            found.append(
                f"manifest.json: {said:,} rows in the config {name}, and its files have {rows.get(folder, 0):,}"
            )
    if manifest.get("rows") is not None and "data" in rows and manifest["rows"] != rows["data"]:
        found.append(f"manifest.json: {manifest['rows']:,} rows, and the files have {rows['data']:,}")
    sequence = manifest.get("id_sequence_sha256")
    if sequence is not None and sequence != ids_digest(ids[path] for path in sorted(ids) if path.startswith("data/")):
        found.append("manifest.json: other ids, or in another order, than the files have")
    return found


def _card(manifest: dict[str, Any], data: bytes) -> list[str]:
    import yaml

    try:
        metadata = yaml.safe_load(data.decode().split("---\n", 2)[1])
        licence = metadata.get("license")
    except (ValueError, IndexError, AttributeError, yaml.YAMLError):
        return [f"{CARD}: no metadata that can be read"]
    said = manifest.get("license")
    if said is not None and said != "unknown" and licence != said:
        return [f"{CARD}: licence {licence}, and the manifest says {said}"]
    return []
