"""`factory export` from a folder of local image files: its rate beside pyarrow's, and its peak memory at two sizes.

Images are random bytes of 20 to 600 kB (nothing in a build decodes them); the run beside them has one caption of 80 words an
image, two scores, and a selection, as if it had been captioned. A build reads, hashes and sorts, and its files are on the
disk when it ends. Beside it, pyarrow.parquet.write_table writes the same tables (default, sft, text), each in memory and as one
file, also synced: with its defaults, and with images uncompressed; the faster of both counts.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.commands import environment, python_module

LEAST, MOST = 20_000, 600_000


def build_rate(gigabytes: float, repeats: int) -> dict[str, Any]:
    """Builds and writes in turns; medians."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        root = Path(folder)
        digests = make_images(root / "images", gigabytes)
        make_run(root, "run", "first", digests)
        size = 0
        builds, writes = [], []
        for number in range(repeats):
            builds.append(child("export", root / "run", root / f"set-{number}")["seconds"])
            release = root / f"set-{number}" / "1.0.0"
            size = sum(file.stat().st_size for file in release.rglob("*.parquet"))
            written = child("pyarrow", release, root / "table.parquet")
            writes.append(min(written["defaults"], written["uncompressed"]))
        build, write = statistics.median(builds), statistics.median(writes)
    return {
        "build_over_pyarrow": round(write / build, 3),
        "build_mb_per_s": round(size / build / 1e6),
        "pyarrow_mb_per_s": round(size / write / 1e6),
        "build_seconds": [round(one, 2) for one in builds],
        "pyarrow_seconds": [round(one, 2) for one in writes],
    }


def memory(small: float, large: float) -> dict[str, Any]:
    """Peak resident set of the first version and of a second one with other captions, at both sizes (gigabytes)."""
    peaks: dict[float, list[float]] = {}
    seconds: dict[float, list[float]] = {}
    for gigabytes in (small, large):
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
            root = Path(folder)
            digests = make_images(root / "images", gigabytes)
            for name in ("first", "second"):
                make_run(root, name, name, digests)
                done = child("export", root / name, root / "set")
                shutil.rmtree(root / "set" / "1.0.0" / "sft", ignore_errors=True)  # room on the disk; nothing reads it
                peaks.setdefault(gigabytes, []).append(done["peak"])
                seconds.setdefault(gigabytes, []).append(done["seconds"])
                print(
                    f"{gigabytes:g} GB, {name} version: {done['peak'] / 1e6:,.0f} MB, {done['seconds']:.1f} s",
                    flush=True,
                )
    return {
        "peak_rss_growth": round(max(peaks[large]) / max(peaks[small]) - 1, 3),
        "peak_rss_growth_first": round(peaks[large][0] / peaks[small][0] - 1, 3),
        "peak_rss_mb": {f"{size:g} GB": [round(one / 1e6) for one in both] for size, both in peaks.items()},
        "peak_rss_seconds": {f"{size:g} GB": [round(one, 1) for one in both] for size, both in seconds.items()},
    }


def make_images(folder: Path, gigabytes: float) -> dict[str, str]:
    """Files of random bytes; returns their SHA-256 by name."""
    import numpy as np

    folder.mkdir()
    random = np.random.Generator(np.random.SFC64(7))
    total = 0
    digests: dict[str, str] = {}
    while total < gigabytes * 1e9:
        data = random.bytes(int(random.integers(LEAST, MOST)))
        name = f"{len(digests):08d}.jpg"
        (folder / name).write_bytes(data)
        digests[name] = hashlib.sha256(data).hexdigest()
        total += len(data)
    return digests


def make_run(root: Path, name: str, caption: str, digests: dict[str, str]) -> None:
    """A finished run over the images (name -> SHA-256), without an engine."""
    import random

    import polars as pl

    from exports.storage import Storage
    from factory.pipeline import run_recipe
    from factory.recipe import Recipe, recipe_yaml
    from factory.runs import tables
    from factory.runs.run import Run
    from factory.sources.shard_keys import ShardKeys
    from factory.sources.source import SourceRow
    from factory.work.plan import make_plan

    view = {"name": "self", "model": "demo:small", "prompts": [{"text": "Describe the image."}]}
    recipe = Recipe.model_validate(
        {
            "name": name,
            "source": {"kind": "folder", "path": str(root / "images")},
            "views": [view],
            "filters": ["length", "repetition"],
        }
    )
    run = Run(Storage(str(root / name)))
    plan = make_plan(recipe, run, scratch=run.storage.child("source"))
    listing = pl.DataFrame(run.storage.child("source").scan(["listing.parquet"]).collect())
    fingerprint = plan.work.views[0].fingerprints[0]
    words = [f"word{number}" for number in range(500)]
    draw = random.Random(caption)
    for listed in plan.shards:
        keys = ShardKeys()
        names = listing.filter(bucket=listed.shard.spec["bucket"])["path"]
        keys.add([SourceRow(name, (root / "images" / name).read_bytes(), None) for name in names])
        made = [
            dict.fromkeys(tables.CAPTIONS)
            | {
                "image_key": name,
                "shard": listed.shard.name,
                "view": "self",
                "candidate": 0,
                "fingerprint": fingerprint,
                "status": "ok",
                "text": " ".join(draw.choices(words, k=80)),
                "prompt": "Describe the image.",
                "model": "demo:small",
                "source_width": 640,
                "source_height": 480,
                "source_format": "JPEG",
                "image_sha256": digests[name],
                "created_ms": 1,
            }
            for name in names
        ]
        run.append("captions", pl.DataFrame(made, schema=tables.CAPTIONS))
        run.append("shards", keys.frame(listed.shard, reading=plan.work.reading))
    run_recipe(recipe, recipe_yaml(recipe), run.url, quiet=True)


def child(what: str, source: Path, to: Path) -> dict[str, float]:
    """One measurement in a process of its own."""
    command = python_module("bench.release_build", what, source, to)
    done = subprocess.run(command, env=environment(), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def export(source: str, to: str) -> dict[str, float]:
    """`factory export RUN --to DIR`. Seconds, and the peak resident set in bytes."""
    from exports.storage import Storage
    from factory.releasing.export_run import export_release
    from factory.runs.run import Run

    started = time.monotonic()
    export_release(Run(Storage(source)), to)
    seconds = time.monotonic() - started
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def write_with_pyarrow(release: str, file: str) -> dict[str, float]:
    """Seconds to write the tables of the release's configs, each in memory before, and to have them on the disk."""
    import pyarrow.parquet as pq

    seconds = {"defaults": 0.0, "uncompressed": 0.0}
    for folder in ("data", "sft", "text"):
        table = pq.read_table(f"{release}/{folder}")
        schema = pq.ParquetFile(min(Path(release, folder).iterdir())).schema
        leaves = [schema.column(number).path for number in range(len(schema))]
        plain = {name: "none" if name.endswith(".bytes") else "snappy" for name in leaves}
        ways: dict[str, dict[str, Any]] = {"defaults": {}, "uncompressed": {"compression": plain}}
        for name, options in ways.items():
            Path(file).unlink(missing_ok=True)
            started = time.monotonic()
            with open(file, "wb") as sink:
                pq.write_table(table, sink, **options)
                sink.flush()
                os.fsync(sink.fileno())
            seconds[name] += time.monotonic() - started
        del table
    return seconds


if __name__ == "__main__":
    measure = {"export": export, "pyarrow": write_with_pyarrow}[sys.argv[1]]
    print(json.dumps(measure(*sys.argv[2:])))
