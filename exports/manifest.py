"""The manifest of a release: what its files are, byte for byte. Canonical, so equal releases have equal manifests."""

from __future__ import annotations

import hashlib
import json
from typing import Any

FORMAT = 1
MANIFEST = "manifest.json"


def canonical_json(content: Any) -> bytes:
    """JSON with sorted keys, no time stamps and one trailing newline: the same content is the same bytes."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False)
    return (text + "\n").encode()


def sha256_hex(data: bytes) -> str:
    """SHA-256 of bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def content_hash(manifest: dict[str, Any]) -> str:
    """SHA-256 of everything in a manifest but the version, its parent, the inputs' fingerprint and the card: what decides whether anything changed."""
    content = {key: value for key, value in manifest.items() if key not in ("version", "parent", "inputs")}
    content["files"] = [file for file in manifest["files"] if file["path"] != "README.md"]
    return sha256_hex(canonical_json(content))
