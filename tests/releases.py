"""Makers of small releases for tests."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import random
import shutil
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from exports.formats import export
from exports.local_release import LocalRelease, find_release
from exports.manifest import MANIFEST, canonical_json, sha256_hex
from exports.release import ReleaseInfo, ReleaseRow, build_release


def noise(number: int, side: int = 24) -> bytes:
    """A PNG that does not compress, the same each time."""
    pixels = random.Random(number).randbytes(side * side * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (side, side), pixels).save(buffer, "PNG")
    return buffer.getvalue()


def row(number: int, caption: str = "A caption", scores: dict[str, float | None] | None = None) -> ReleaseRow:
    """An image with a licence and one caption."""
    data = noise(number)
    scores = {"length": 0.25} if scores is None else scores
    lineage: dict[str, Any] = {"view": "self", "candidate": 0, "text": caption, "kept": True, "model": "m"}
    return ReleaseRow(
        id=f"album/{number:05d}",
        image=data,
        file_name=f"{number}.png",
        caption=caption,
        view="self",
        original=None,
        fields={"license": "cc0"},
        sha256=hashlib.sha256(data).hexdigest(),
        width=24,
        height=24,
        scores=scores,
        captions=[{**lineage, **{f"score_{name}": score for name, score in scores.items()}}],
    )


def with_rejected(one: ReleaseRow, text: str | None = None, reason: str = "require:length") -> ReleaseRow:
    """The row with a second candidate of the same prompt, which a filter turned down."""
    name = reason.partition(":")[2]
    worse = {"candidate": 1, "text": text or f"{one.caption} and a dragon", "kept": False, "reason": reason}
    return dataclasses.replace(one, captions=[*one.captions, {**one.captions[0], **worse, f"score_{name}": 0.1}])


def rows(
    count: int = 20, caption: str = "A caption", scores: dict[str, float | None] | None = None
) -> list[ReleaseRow]:
    return [row(number, f"{caption} {number}", scores) for number in range(count)]


def build(
    home: Path,
    version: str = "1.0.0",
    content: list[ReleaseRow] | None = None,
    shard_bytes: int = 10**9,
    **changes: Any,
) -> LocalRelease:
    """A release of these rows in `<home>/<version>/`."""
    content = rows() if content is None else content
    names = content[0].scores
    info = ReleaseInfo("birds", "cc-by-4.0", dict.fromkeys(names, "A score."), inputs=version)
    info = dataclasses.replace(info, **changes)
    built = build_release(content, str(home), version, info, shard_bytes)
    return find_release(built.url)


def rewrite(release: LocalRelease, contents: dict[str, bytes] | None = None, **manifest: Any) -> LocalRelease:
    """The release with other small files and manifest keys, its manifest put right."""
    content = {**release.manifest, **manifest}
    for path, data in (contents or {}).items():
        (release.folder / path).write_bytes(data)
        for file in content["files"]:
            if file["path"] == path:
                file |= {"bytes": len(data), "sha256": sha256_hex(data)}
    (release.folder / MANIFEST).write_bytes(canonical_json(content))
    return find_release(release.folder)


def card_metadata(release: LocalRelease) -> dict[str, Any]:
    return yaml.safe_load((release.folder / "README.md").read_text().split("---\n")[1])  # type: ignore[no-any-return]


def manifest_of(release: LocalRelease) -> dict[str, Any]:
    return json.loads((release.folder / MANIFEST).read_text())  # type: ignore[no-any-return]


def with_sft(release: LocalRelease, scratch: Path) -> LocalRelease:
    """The release with the config `sft`, where it has none: the adapter's shards, declared in card and manifest."""
    if any(file.path.startswith("sft/") for file in release.files):
        return release
    export(release.folder, scratch / "sft", "sft")
    shutil.move(scratch / "sft" / "data", release.folder / "sft")
    files = list(release.manifest["files"])
    for path in sorted((release.folder / "sft").iterdir()):
        data = path.read_bytes()
        files.append({"path": f"sft/{path.name}", "bytes": len(data), "sha256": sha256_hex(data)})
    _, head, body = (release.folder / "README.md").read_text().split("---\n", 2)
    metadata = yaml.safe_load(head)
    sft = {"config_name": "sft", "data_files": [{"split": "train", "path": "sft/train-*.parquet"}]}
    metadata["configs"] = [*metadata["configs"], sft]
    card = f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n{body}"
    return rewrite(release, {"README.md": card.encode()}, files=files)
