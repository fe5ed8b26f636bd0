"""The review app over a run of a million captions: how long the first page, a filter, an order and a search take, and its memory.

Makes the tables of such a run itself (nothing is captioned, no engine starts), starts the app as its own process, and asks it
as a browser does. `start_s` is from the command until the server answers, in which it reads the whole index; `first_page_s` the first page then; `filter_s` the
slowest of several filters and orders; `search_s` words that are in few captions; `ten_at_once_s` until ten requests at once
are answered; `peak_mb` the most memory that the app's process had (its resident set).

    python -m bench.review [--captions 1000000] [--json]
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import polars as pl
import psutil

from bench.answer import print_answer
from bench.commands import environment, factory_command
from exports.storage import Storage
from factory.demo.scenes import scene_key
from factory.recipe import Recipe, recipe_yaml
from factory.runs import tables
from factory.runs.run import RECIPE, SELECTION, Run
from factory.work.recipe_lock import write_lock
from factory.work.work import resolve_work

FILTERS = ["length", "repetition", "token_confidence"]
PART_ROWS = 100_000
WORDS = [
    "a",
    "large",
    "red",
    "circle",
    "is",
    "at",
    "the",
    "left",
    "of",
    "small",
    "green",
    "square",
    "and",
    "there",
    "word",
    "on",
    "top",
    "with",
    "blue",
    "yellow",
    "triangle",
    "two",
]


def main() -> None:
    """Make the run, ask the app, print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_run(f"{folder}/run", options.captions)
        print_answer({"captions": options.captions, **ask(f"{folder}/run")}, options.json)


def make_run(url: str, captions: int) -> None:
    """A finished run of the demo world with this many captions of two candidates an image, texts of about 300 characters."""
    recipe = Recipe.model_validate(
        {
            "name": "large",
            "source": {"kind": "demo", "scenes": max(1, captions // 2), "seed": 3},
            "views": [
                {
                    "name": "detailed",
                    "model": "demo:small",
                    "prompts": [{"text": "Describe."}],
                    "sampling": {"n": 2, "temperature": 0.7},
                }
            ],
            "filters": FILTERS,
            "select": {"require": {"token_confidence": 0.3}},
        }
    )
    run = Run(Storage(url))
    work = resolve_work(recipe, run)
    run.storage.make()
    run.storage.write(RECIPE, recipe_yaml(recipe).encode())
    write_lock(work)
    rng = random.Random(1)
    sentences = [" ".join(rng.choices(WORDS, k=12)).capitalize() + "." for _ in range(5_000)]
    decided: list[pl.DataFrame] = []
    for start in range(0, captions, PART_ROWS):
        numbers = range(start, min(captions, start + PART_ROWS))
        texts = [" ".join(rng.choices(sentences, k=5)) for _ in numbers]
        frame = pl.DataFrame(
            {
                **dict.fromkeys(tables.CAPTIONS, [None] * len(numbers)),
                "image_key": [scene_key(number // 2) for number in numbers],
                "shard": [f"scenes-{number // 2 // 128 * 128:09d}" for number in numbers],
                "view": ["detailed"] * len(numbers),
                "candidate": [number % 2 for number in numbers],
                "fingerprint": [work.caption_fingerprints[0]] * len(numbers),
                "status": ["ok"] * len(numbers),
                "text": texts,
                "prompt": ["Describe."] * len(numbers),
                "model": ["demo:small"] * len(numbers),
                "created_ms": [1] * len(numbers),
            },
            schema=tables.CAPTIONS,
        )
        part = run.append("captions", frame)
        keys = frame.select("image_key", "view", "candidate", pl.col("fingerprint").alias("caption_fingerprint"))
        for scorer in work.scorers:
            scores = pl.Series("score", [rng.random() for _ in numbers], pl.Float64)
            run.storage.write_parquet(
                f"scores/{scorer.name}/{part}.{scorer.fingerprint}.parquet", keys.with_columns(scores)
            )
        kept = scores >= 0.3
        reason = pl.when(~kept).then(pl.lit("require:token_confidence"))
        decided.append(frame.select("image_key", "shard", "view", "candidate", "fingerprint", kept=kept, reason=reason))
    run.storage.write_frames(SELECTION, decided, tables.SELECTION)


def ask(url: str) -> dict[str, Any]:
    """Seconds and megabytes of the app over this run."""
    command = factory_command("review", url, "--port", "0", "--no-browser")
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = next(line for line in process.stdout if "http://" in line).split()[-1]
        start = time.monotonic() - began
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        base = address.partition("?")[0].rstrip("/")

        def seconds(path: str, **parameters: str) -> float:
            started = time.monotonic()
            query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
            with opener.open(f"{base}{path}{query}") as answer:
                answer.read()
            return time.monotonic() - started

        started = time.monotonic()
        with opener.open(address) as answer:
            answer.read()
        first = time.monotonic() - started
        filters = [
            seconds("/", state="dropped"),
            seconds("/", order="token_confidence"),
            seconds("/", order="-repetition", view="detailed", state="kept"),
            seconds("/", score="length", low="0.2", high="0.21"),
            seconds("/", reason="require:token_confidence", page="300"),
        ]
        search = seconds("/", words="red circle is square")
        with ThreadPoolExecutor(10) as pool:
            started = time.monotonic()
            list(pool.map(lambda number: seconds("/", order="length", page=str(number + 1)), range(10)))
            at_once = time.monotonic() - started
        memory = psutil.Process(process.pid)
        peak = getattr(memory.memory_info(), "peak_rss", None) or _high_water(process.pid)
        return {
            "start_s": round(start, 3),
            "first_page_s": round(first, 3),
            "filter_s": round(max(filters), 3),
            "search_s": round(search, 3),
            "ten_at_once_s": round(at_once, 3),
            "peak_mb": round(peak / 1e6),
        }
    finally:
        process.terminate()
        process.wait(timeout=20)


def _high_water(pid: int) -> int:
    """The most resident bytes that a process had (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return int(psutil.Process(pid).memory_info().rss)


if __name__ == "__main__":
    main()
