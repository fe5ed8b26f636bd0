"""What a new version of a release sends again, through the real hf_xet client into its local store.

Version 1.0.0 is published, built and published again unchanged, then with all captions changed (1.1.0), then without a
tenth of its rows, drawn at random (1.2.0). Images are random bytes of 20 to 110 kB, each row has two captions of 80 words.
"""

from __future__ import annotations

import random
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.commands import environment, factory_command
from exports.local_release import LocalRelease, find_release
from exports.manifest import sha256_hex
from exports.release import ReleaseInfo, ReleaseRow, build_release
from tests.hub.server import LocalHub

REPO = "org/birds"
WORDS = [
    f"{first}{second}" for first in ("a", "be", "cor", "du", "el", "fa") for second in ("n", "st", "ld", "ng", "m", "r")
]


def reupload(images: int) -> dict[str, Any]:
    """Publish the versions to local Hubs, with the config default alone, and with sft and text. Returns the shares of bytes."""
    alone = shares(images, ("default",))
    return alone | {"reupload_with_sft_and_text": shares(images, ("default", "sft", "text"))}


def shares(images: int, configs: tuple[str, ...]) -> dict[str, Any]:
    """Of a release of these configs."""
    with tempfile.TemporaryDirectory() as folder, LocalHub(Path(folder) / "hub") as hub:
        root = Path(folder)

        def publish(release: LocalRelease) -> float:
            before = hub.files.stored_bytes()
            command = factory_command("publish", release.folder, "--to", f"hub:{REPO}", "--json")
            here = environment(**hub.environment(root / "home", True))
            subprocess.run(command, env=here, check=True, stdout=subprocess.DEVNULL)
            return (hub.files.stored_bytes() - before) / sum(file.size for file in release.files)

        first = build(root, images, "first", configs)
        sent = publish(first)
        commits = len(hub.repositories[REPO].commits)
        unchanged = publish(build(root, images, "first", configs))
        more_commits = len(hub.repositories[REPO].commits) - commits
        recaptioned = publish(build(root, images, "second", configs))
        dropped = publish(build(root, images, "second", configs, without=10))
        size = sum(file.size for file in first.files)
        shards = sum(file.is_data for file in first.files)
    return {
        "reupload_recaptioned": round(recaptioned, 4),
        "reupload_dropped_tenth": round(dropped, 4),
        "reupload_unchanged": round(unchanged, 4),
        "reupload_unchanged_commits": more_commits,
        "reupload_first": round(sent, 4),
        "reupload_release_mb": round(size / 1e6),
        "reupload_shards": shards,
    }


def build(root: Path, images: int, caption: str, configs: tuple[str, ...], without: int = 0) -> LocalRelease:
    """The next version; `without` n: one of n rows is left out, at random."""
    inputs = f"{caption} {without} {random.random()}"  # never those of the version before, so that it is built
    info = ReleaseInfo("birds", "cc-by-4.0", {"length": "A score."}, inputs, configs=configs)
    built = build_release(rows(images, caption, without), str(root / "birds"), "auto", info, 400_000_000)
    return find_release(built.url)


def rows(images: int, caption: str, without: int) -> Iterator[ReleaseRow]:
    """The same images each time."""
    for number in range(images):
        of_image = random.Random(number)
        data = of_image.randbytes(of_image.randint(20_000, 110_000))
        if without and of_image.random() < 1 / without:
            continue
        of_text = random.Random(f"{caption} {number}")
        texts = [" ".join(of_text.choices(WORDS, k=80)) for _ in range(2)]
        lineage = {
            "view": "self",
            "kept": True,
            "status": "ok",
            "model": "m",
            "prompt": "Describe the image.",
            "seed": 1,
        }
        yield ReleaseRow(
            id=sha256_hex(data)[:32],
            image=data,
            file_name=f"{number}.jpg",
            caption=texts[0],
            view="self",
            original=None,
            fields={"license": "cc0"},
            sha256=sha256_hex(data),
            width=640,
            height=480,
            scores={"length": of_text.random()},
            captions=[{**lineage, "candidate": place, "text": text} for place, text in enumerate(texts)],
        )
