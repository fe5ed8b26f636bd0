"""A run of millions of images with engines that only wait: Ray, reading, tables, plan, scores, selection and release are real.

The images are Parquet rows of tiny bitmaps that are really read, decoded and prepared; eight stand-in engines answer after half a
second, 2,048 a second together (bench/stand_in_engine.py). Parts, one after the other:

- `plan`: an untouched run is planned.
- `caption`: `--captioned` images from the start to a release. How fast, and how the driver's memory grows from a tenth to all.
- `resume`: of a run of all images of which 99 % are captioned: how long until the first new caption is on the disk, how long until
  all are selected and released. Its tables are written directly, with the rows and in the parts that captioning
  leaves, because captioning ten million at the rate of these engines takes 83 minutes.

Keys of `--json`: `plan_s` (of the 99 % done run), `plan_untouched_s`, `caption_per_s`, `driver_mb` (peak of the process that
drives the resumed run), `driver_growth` (its memory when all of `--captioned` are captioned, over that at a tenth),
`first_caption_after_resume_s`, `score_s`, `select_s`, `release_s`.

    python -m bench.scale --images 1000000 --json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.answer import print_answer

if TYPE_CHECKING:
    import numpy as np

    from factory.work.plan import Plan

ENGINES: Final = 8
SIDE: Final = 8  # pixels; a bitmap of 246 bytes
GROUP_ROWS: Final = 2_500
FILE_ROWS: Final = 250_000
BATCH_ROWS: Final = 64  # images of a caption part, as captioning writes them,
MERGED_ROWS: Final = 512 * BATCH_ROWS  # and as it merges them
DONE: Final = 0.99


# --- the source --------------------------------------------------------------------------------------------------------


def bitmaps(numbers: np.ndarray) -> list[bytes]:
    """A BMP file of each number, all different."""
    import numpy as np

    size = 54 + SIDE * SIDE * 3
    header = b"BM" + size.to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
    header += SIDE.to_bytes(4, "little") * 2 + (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + bytes(24)
    files = np.zeros((len(numbers), size), np.uint8)
    files[:, :54] = np.frombuffer(header, np.uint8)
    files[:, 54:] = np.arange(SIDE * SIDE * 3, dtype=np.uint8)
    files[:, 54:62] = numbers.astype("<u8").view(np.uint8).reshape(-1, 8)
    whole = files.tobytes()
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def write_source(folder: Path, images: int) -> None:
    """Parquet files with `id`, `image` and `text`."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, images, FILE_ROWS):
        file = folder / f"images-{start:09d}.parquet"
        if file.exists():
            continue
        numbers = np.arange(start, min(start + FILE_ROWS, images))
        table = pa.table({"id": [f"{number:09d}" for number in numbers], "image": bitmaps(numbers)})
        pq.write_table(table, file.with_suffix(".new"), row_group_size=GROUP_ROWS, compression="zstd")
        file.with_suffix(".new").rename(file)


def recipe_of(folder: Path) -> dict[str, Any]:
    """A view of the stand-in, three filters of texts, rules of each kind, and a release."""
    from bench.stand_in_engine import MODEL_NAME

    model = folder / MODEL_NAME
    model.mkdir(parents=True, exist_ok=True)
    (model / "config.json").write_text("{}")
    view = {
        "name": "self",
        "model": str(model),
        "prompts": ["Describe the image."],
        "replicas": ENGINES,
        "canary": False,
    }
    return {
        "name": "scale",
        "source": {"kind": "parquet", "path": str(folder / "images"), "key": "id"},
        "views": [view],
        "filters": ["length", "repetition", "token_confidence"],
        "select": {"require": {"length": 0.5}, "keep_top": {"token_confidence": 0.9}, "dedup": ["exact"]},
        "release": {"to": str(folder / "release"), "license": "cc0-1.0"},
    }


# --- a run that is 99 % done --------------------------------------------------------------------------------------------


def prepare(folder: Path, out: str, share: float) -> None:
    """Write the tables of a run that was killed when this share of its images was captioned."""
    import polars as pl

    from exports.storage import Storage
    from factory.recipe import Recipe, recipe_yaml
    from factory.runs.run import FRESH_PARTS, RECIPE, Run
    from factory.sources.shard_keys import ShardKeys
    from factory.work.plan import make_plan
    from factory.work.pools import note_pools
    from factory.work.recipe_lock import write_lock

    run = Run(Storage(out))
    recipe = Recipe.model_validate(recipe_of(folder))
    run.storage.make()
    plan = make_plan(recipe, run)
    run.storage.write(RECIPE, recipe_yaml(recipe).encode())
    write_lock(plan.work)
    note_pools(run, plan.work.views)
    captions: list[Any] = []
    readings: list[Any] = []
    for listed in plan.shards[: int(len(plan.shards) * share)]:
        rows = list(plan.source.read(listed.shard, 1_000_000))
        keys = ShardKeys()
        keys.add(rows)
        readings.append(keys.frame(listed.shard, None, plan.work.reading))
        captions.append(_captions(plan, listed.shard.name, rows))
        if len(captions) * GROUP_ROWS >= MERGED_ROWS:
            run.append("captions", pl.concat(captions))
            captions.clear()
        if len(readings) == FRESH_PARTS:
            run.append("shards", pl.concat(readings))
            readings.clear()
    left = pl.concat(captions) if captions else None
    for batch in left.iter_slices(BATCH_ROWS) if left is not None else ():
        run.append("captions", batch)
    for frame in readings:
        run.append("shards", frame)


def _captions(plan: Plan, shard: str, rows: list[Any]) -> Any:
    import polars as pl

    from bench.stand_in_engine import WORDS, StandInEngine
    from factory.runs import tables

    ready = plan.work.views[0]
    hashes = [hashlib.sha256(row.data) for row in rows]
    texts = [" ".join(WORDS[byte % len(WORDS)] for byte in one.digest()[:20]).capitalize() + "." for one in hashes]
    same = {
        "shard": shard, "view": ready.name, "candidate": 0, "fingerprint": ready.fingerprints[0], "status": "ok",
        "finish_reason": "stop", "prompt_id": "p1", "prompt": ready.view.prompts[0].text, "prompt_tokens": 300,
        "output_tokens": 24, "max_tokens": 256, "mean_logprob": -0.4, "min_logprob": -2.0, "model": ready.view.model,
        "model_revision": ready.model.revision, "template_sha256": StandInEngine.template_sha256, "width": SIDE, "height": SIDE,
        "source_width": SIDE, "source_height": SIDE, "source_format": "BMP", "engine": StandInEngine.label, "created_ms": 1,
        "seed": 1,
    }  # fmt: skip
    own = pl.DataFrame({
        "image_key": [row.key for row in rows], "text": texts, "image_sha256": [one.hexdigest() for one in hashes]
    })  # fmt: skip
    given = own.with_columns(pl.lit(value).alias(name) for name, value in same.items())
    return given.select(
        (pl.col(name) if name in given.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in tables.CAPTIONS.items()
    )


# --- measuring ---------------------------------------------------------------------------------------------------------


def memory_mb() -> float:
    """Resident memory of this process in MB (10^6 bytes)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Watching:
    """Watches this process's memory and the captions that come, every quarter of a second."""

    def __init__(self, captions: Path) -> None:
        self.captions = captions
        self.before = _names(captions)
        self.started = time.monotonic()
        self.first_s: float | None = None
        self.peak_mb = 0.0
        self.caption_mb: list[tuple[int, float]] = []  # parts there, memory, while they grow
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watching:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        modified = 0.0
        while not self._stopping.wait(0.25):
            now = memory_mb()
            self.peak_mb = max(self.peak_mb, now)
            if not self.captions.exists() or (changed := self.captions.stat().st_mtime) == modified:
                continue
            modified = changed
            if self.first_s is None and len(_names(self.captions)) > len(self.before):
                self.first_s = time.monotonic() - self.started
            if self.first_s is not None and len(self.before) < 10_000:
                self.caption_mb.append((len(_names(self.captions)), now))

    @property
    def growth(self) -> float:
        """Memory when the most captions were there, over that at a tenth of them."""
        most = max(parts for parts, _ in self.caption_mb)
        tenth = next(mb for parts, mb in self.caption_mb if parts >= most / 10)
        return max(mb for parts, mb in self.caption_mb if parts == most) / tenth


def _names(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".parquet")] if folder.exists() else []


def measure_plan(folder: Path, out: str) -> dict[str, float]:
    """Plan, in this process."""
    from exports.storage import Storage
    from factory.recipe import Recipe
    from factory.runs.run import Run
    from factory.work.plan import make_plan

    recipe = Recipe.model_validate(recipe_of(folder))
    started, busy = time.monotonic(), time.process_time()
    plan = make_plan(recipe, Run(Storage(out)))
    found = {"plan_s": time.monotonic() - started, "plan_cpu_s": time.process_time() - busy, "plan_mb": memory_mb()}
    for line in plan.lines():
        print(line, file=sys.stderr)
    return found


def measure_run(folder: Path, out: str, limit: int | None) -> dict[str, float]:
    """Run to the end, in this process."""
    from bench.stand_in_engine import StandInActor
    from factory.engines import pool
    from factory.pipeline import run_recipe
    from factory.recipe import Recipe, recipe_yaml

    pool.EngineActor = StandInActor  # type: ignore[misc]
    recipe = Recipe.model_validate(recipe_of(folder))
    with Watching(Path(out) / "captions") as watching:
        outcome = run_recipe(recipe, recipe_yaml(recipe), out, limit, quiet=True)
    seconds = outcome.seconds
    made = sum(outcome.made.images.values())
    return {
        "made": made,
        "caption_per_s": made / seconds["caption"],
        "driver_mb": watching.peak_mb,
        "driver_growth": watching.growth if watching.caption_mb else 0.0,
        "first_s": watching.first_s or 0.0,
        **{f"{name}_s": seconds[name] for name in ("caption", "score", "select", "release", "total")},
    }


def _apart(part: str, folder: Path, out: str, limit: int | None = None) -> dict[str, float]:
    """A part in a process of its own, whose memory is its own."""
    command = [sys.executable, "-m", "bench.scale", "--part", part, "--folder", str(folder), "--out", out]
    command += ["--captioned", str(limit)] if limit else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[1])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{part}: {found}", file=sys.stderr, flush=True)
    return found


def measure(folder: Path, images: int, captioned: int) -> dict[str, Any]:
    """All parts."""
    write_source(folder / "images", images)
    whole, first = str(folder / "whole"), str(folder / "first")
    untouched = _apart("plan", folder, whole)
    run = _apart("run", folder, first, captioned)
    _apart("prepare", folder, whole)
    plan = _apart("plan", folder, whole)
    resumed = _apart("run", folder, whole)
    return {
        "images": images,
        "captioned": captioned,
        "plan_untouched_s": untouched["plan_s"],
        "plan_s": plan["plan_s"],
        "caption_per_s": run["caption_per_s"],
        "driver_growth": run["driver_growth"],
        "driver_mb": resumed["driver_mb"],
        "first_caption_after_resume_s": resumed["first_s"],
        **{name: resumed[name] for name in ("caption_s", "score_s", "select_s", "release_s", "total_s")},
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, help="images of the source (default 100,000)")
    parser.add_argument("--captioned", type=int, help="of them captioned from the start (default a tenth)")
    parser.add_argument("--folder", help="where it works, kept afterwards (default a temporary one)")
    parser.add_argument("--part", choices=("plan", "run", "prepare"), help="one part alone, as the bench starts it")
    parser.add_argument("--out", help="the run directory of that part")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() if options.folder is None else nullcontext(options.folder) as given:
        folder = Path(given)
        if options.part is None:
            found = measure(folder, options.images, options.captioned or max(256, options.images // 10))
            print_answer({name: round(value, 3) for name, value in found.items()}, options.json)
        elif options.part == "plan":
            print(json.dumps(measure_plan(folder, options.out)))
        elif options.part == "run":
            print(json.dumps(measure_run(folder, options.out, options.captioned)))
        else:
            prepare(folder, options.out, DONE)
            print(json.dumps({}))


if __name__ == "__main__":
    main()
