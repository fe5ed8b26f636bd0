"""Time per caption and peak memory of `factory filter` at 1 and at 10 million captions: both must stay flat.

Time is the processor's, of all processes together, so that what else the machine does counts less; the clock's is beside it.

Captions are drawn from the given ones, with two words changed in each. Sums the proportional set size of all processes of
the command, sampled twice a second, and takes the peak.

    python -m bench.filter_scale [--data FOLDER] [--small 1000000] [--large 10000000] [--json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import polars as pl
import psutil

from bench.answer import print_answer
from bench.commands import environment, factory_command
from bench.drawn_captions import human_captions

FILE_ROWS = 500_000
WORDS = [
    "red",
    "small",
    "old",
    "wooden",
    "shiny",
    "wet",
    "tall",
    "striped",
    "empty",
    "white",
    "far",
    "near",
    "three",
    "two",
]


def main() -> None:
    """Run both sizes; print both ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="Folder with gcc_validation.txt; without it the captions are drawn.")
    parser.add_argument("--small", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=10_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    texts = pl.Series(human_captions(options.data))
    found = {}
    for rows in (options.small, options.large):
        found[rows] = measured(texts, rows)
        print(f"{rows:,} captions: {found[rows]}", flush=True)
    small, large = found[options.small], found[options.large]
    answer = {
        "time_per_row_10m_over_1m": round(
            large["processor_seconds"] / options.large / (small["processor_seconds"] / options.small), 3
        ),
        "peak_rss_growth": round(large["peak_mb"] / small["peak_mb"] - 1, 3),
        "runs": {str(rows): one for rows, one in found.items()},
    }
    print_answer(answer, options.json)


def measured(texts: pl.Series, rows: int) -> dict[str, float]:
    """Seconds and peak megabytes of one `factory filter`; the making of its captions left out."""
    with tempfile.TemporaryDirectory() as folder:
        write_captions(texts, rows, Path(folder) / "captions")
        command = factory_command("filter", f"{folder}/captions", "--out", f"{folder}/run", "--json")
        started = time.monotonic()
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
        peak = {"all": 0.0, "driver": 0.0}
        spent: dict[int, float] = {}
        while process.poll() is None:
            for name, size in sizes(psutil.Process(process.pid), spent).items():
                peak[name] = max(peak[name], size)
            time.sleep(0.5)
        seconds = time.monotonic() - started
        assert process.stdout is not None
        outcome = json.loads(process.stdout.read())
        if process.returncode or outcome["images"]["source_rows"] != rows:
            raise SystemExit(f"the run with {rows:,} captions failed: {outcome}")
        return {
            "seconds": round(seconds, 1),
            "processor_seconds": round(sum(spent.values()), 1),
            "peak_mb": round(peak["all"] / 1e6),
            "driver_mb": round(peak["driver"] / 1e6),
            "kept": outcome["selection"]["kept"],
            "phases": outcome["this_time"]["seconds"],
        }


def write_captions(texts: pl.Series, rows: int, folder: Path) -> None:
    """`rows` captions in Parquet files of FILE_ROWS."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, start in enumerate(range(0, rows, FILE_ROWS)):
        count = min(FILE_ROWS, rows - start)
        first, second = (texts.gather(rng.integers(0, len(texts), count)) for _ in range(2))
        words = [pl.Series(WORDS).gather(rng.integers(0, len(WORDS), count)) for _ in range(2)]
        pl.DataFrame({"a": first, "b": words[0], "c": second, "d": words[1]}).select(
            pl.int_range(start, start + count).cast(pl.String).alias("id"),
            pl.format("{} , {} {} {}", "a", "b", "c", "d").alias("text"),
        ).write_parquet(folder / f"{number:04d}.parquet", row_group_size=50_000)


def sizes(root: psutil.Process, spent: dict[int, float]) -> dict[str, float]:
    """Bytes now of all processes of the command, and of its first one; `spent` gets the processor seconds of each."""
    now = {"all": 0.0, "driver": 0.0}
    for one in [root, *root.children(recursive=True)]:
        try:
            size = one.memory_full_info().pss
            spent[one.pid] = sum(one.cpu_times()[:2])
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        now["all"] += size
        if one.pid == root.pid:
            now["driver"] = size
    return now


if __name__ == "__main__":
    main()
