"""The manifest of a release: what its files are, byte for byte. Canonical, so equal releases have equal manifests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

FORMAT = 1
MANIFEST = "manifest.json"
HISTORY = {
    "version", "parent", "inputs", "filters", "created_from", "writer", "next_shard", "changes", "changelog", "schemas", "configs"
}  # fmt: skip


def canonical_json(content: Any) -> bytes:
    """JSON with sorted keys, no time stamps and one trailing newline: the same content is the same bytes."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False)
    return (text + "\n").encode()


def sha256_hex(data: bytes) -> str:
    """SHA-256 of bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def content_hash(manifest: dict[str, Any]) -> str:
    """SHA-256 of what decides whether anything changed.

    Left out: the version, its history, what it was made from and with, and the texts that follow from the rest (the card).
    """
    content = {key: value for key, value in manifest.items() if key not in HISTORY}
    content["files"] = [file for file in manifest["files"] if file["path"] not in ("README.md", "recipe.yaml")]
    return sha256_hex(canonical_json(content))


def ids_digest(shards: Iterable[str]) -> str:
    """SHA-256 over the `ids_sha256` of all shards in the order of their paths: which rows there are, and in which order."""
    digest = hashlib.sha256()
    for one in shards:
        digest.update(bytes.fromhex(one))
    return digest.hexdigest()


def writer_versions() -> dict[str, str]:
    """The packages that decide how rows become bytes."""
    from importlib.metadata import version

    return {name: version(name) for name in ("polars", "pyarrow")}
