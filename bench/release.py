"""The numbers of releases: publishing under faults, what a new version sends again, how fast a build is, its memory.

    python -m bench.release [--parts faults reupload build memory] [--json]

Parts and their keys, of the JSON object in the last line:

- faults (release_faults.py; --modes, --only, --jobs): faults_tried, faults_fired, faults_survived
- reupload (release_reupload.py; --images): reupload_recaptioned, reupload_dropped_tenth, reupload_unchanged: bytes that
  reach the Hub's Xet store, as shares of the release's bytes; reupload_unchanged_commits; the same with sft and text
- build (release_build.py; --build-gb, --repeats): build_over_pyarrow: rate of `factory export` from local files over that
  of pyarrow.parquet.write_table with the finished table in memory
- memory (release_build.py; --memory-gb): peak_rss_growth: peak memory of `factory export` at the larger size over that at
  the smaller one, minus 1
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.answer import print_answer
from bench.release_build import build_rate, memory
from bench.release_faults import fault_matrix
from bench.release_reupload import reupload

PARTS = ("faults", "reupload", "build", "memory")


def main() -> None:
    """Measure the parts asked for; print their numbers. Exit code 1 where a fault was not survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--modes", nargs="+", choices=("lfs", "xet"), default=["lfs", "xet"])
    parser.add_argument("--only", nargs="+", metavar="ENDPOINT", help="Only faults of these endpoints.")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--images", type=int, default=8000, help="Of the reupload, 20 to 110 kB each.")
    parser.add_argument("--build-gb", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-gb", nargs=2, type=float, default=[2.0, 10.0])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    answer: dict[str, Any] = {}
    if "reupload" in options.parts:
        answer |= reupload(options.images)
    if "build" in options.parts:
        answer |= build_rate(options.build_gb, options.repeats)
    if "memory" in options.parts:
        answer |= memory(*options.memory_gb)
    if "faults" in options.parts:
        answer |= fault_matrix(options.modes, options.only, options.jobs)
    print_answer(answer, options.json)
    if answer.get("faults_survived", 0) < answer.get("faults_tried", 0):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
