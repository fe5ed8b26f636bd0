"""Every benchmark starts, measures at the smallest size, and answers with its numbers and the machine's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = sorted(
    file.stem for file in (ROOT / "bench").glob("*.py") if "argparse" in file.read_text() and file.stem != "peers"
)
"""All but peers, which runs in an environment of the peers' own and is started by `filters`."""

ON_DATA_GIVEN = {"real"}
"""Those that measure nothing without data, which `make bench` leaves out; they have tests of their own."""

SMALLEST: dict[str, tuple[str, set[str]]] = {
    "filter_scale": ("--small 300 --large 600", {"time_per_row_10m_over_1m", "peak_rss_growth"}),
    "filters": (
        "--only text_speed set_level --rows 200 --set-rows 200 --set-filters exact_duplicates",
        {"text_per_s_24", "text_per_s_120", "set_level"},
    ),
    "reads": ("", {"reads_per_image"}),
    "release": (
        "--parts build --build-gb 0.002 --repeats 1",
        {"build_over_pyarrow"},
    ),
    "review": ("--captions 300", {"first_page_s", "filter_s", "peak_mb"}),
}
"""Benchmark -> arguments that make it small, and keys its answer must have."""

SMALLEST_AND_SLOW: dict[str, tuple[str, set[str]]] = {
    "faithfulness": ("--scenes 40 --candidates 2 --only auroc", {"auroc", "auroc_self_stacked", "precision_after"}),
    "filters": (
        "--only text_flags calibration alignment image_speed peers scale --rows 200 --scenes 4 --captioned-scenes 40 "
        "--resamples 1 --images 20",
        {"calibration_held", "auroc_alignment", "image_per_s_all"},
    ),
    "fusion": ("--scenes 8", {"leaks", "fallbacks", "lost_facts", "added_facts"}),
    "kill": ("--images 60 --kills 2", {"lost", "duplicated", "recaptioned_beyond_in_flight", "differing"}),
    "newcomer": ("", {"install_light_s", "install_light_mb", "first_report_s"}),
    "memory": ("--small 20 --large 30", {"peak_rss_growth"}),
    "quote": ("--only plain --probe 8 --images 16", {"quote_error", "errors", "inside"}),
    "release": (
        "--parts reupload memory faults --images 20 --memory-gb 0.002 0.003 --modes lfs --only create --jobs 2",
        {"reupload_unchanged", "peak_rss_growth", "faults_survived"},
    ),
    "rounds": (
        "--dir proof --scale small --seeds 1 --rounds 0 --parts proof trainer --steps 6 --repeats 1",
        {"precision", "recall", "rounds_improving", "trainer_over_trl"},
    ),
    "scale": (
        "--images 3000 --captioned 256",
        {"plan_s", "driver_mb", "driver_growth", "first_caption_after_resume_s", "select_s"},
    ),
    "starts": ("--images 24 --before none", {"engine_starts", "ray_starts"}),
    "views": (
        "--images 4 --busy-images 4 --words 4 --steps 2 --repeats 1",
        {"expert_cost", "expert_cost_busy", "wrong_words", "wrong_words_shipped", "words_read"},
    ),
    "throughput": ("--images 32 --repeats 1", {"factory_over_vllm", "factory_over_ray_data_llm", "images_per_s"}),
}
"""Those that start engines or publish again and again."""


@pytest.mark.parametrize("name", sorted(SMALLEST))
def test_a_benchmark_runs_at_the_smallest_size(name: str, tmp_path: Path) -> None:
    _answers(name, *SMALLEST[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SMALLEST_AND_SLOW))
def test_a_benchmark_with_an_engine_or_a_hub_runs_at_the_smallest_size(name: str, tmp_path: Path) -> None:
    _answers(name, *SMALLEST_AND_SLOW[name], tmp_path)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_starts_as_a_module_and_as_a_file(name: str, tmp_path: Path) -> None:
    for start, folder in (["-m", f"bench.{name}"], ROOT), ([str(ROOT / "bench" / f"{name}.py")], tmp_path):
        done = subprocess.run([sys.executable, *start, "--help"], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f"python -m bench.{name} " in done.stdout


def test_every_benchmark_is_run_here_and_by_make_bench() -> None:
    assert set(BENCHMARKS) - ON_DATA_GIVEN == SMALLEST.keys() | SMALLEST_AND_SLOW.keys()
    makefile = (ROOT / "Makefile").read_text()
    listed = next(line for line in makefile.splitlines() if line.startswith("BENCHMARKS :="))
    assert set(listed.split()[2:]) == set(BENCHMARKS) - ON_DATA_GIVEN


def _answers(name: str, arguments: str, keys: set[str], folder: Path) -> None:
    """Run as a file, from a folder that is not the repository's; the last line must be JSON with these keys."""
    command = [sys.executable, str(ROOT / "bench" / f"{name}.py"), *arguments.split(), "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=590)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert keys <= answer.keys()
    assert answer["machine"]["processor"]
