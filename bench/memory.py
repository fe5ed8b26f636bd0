"""Peak memory of the factory's own processes at 5,000 and at 50,000 images: it must not grow with the source.

Sums the proportional set size (PSS: shared pages divided among those who share them) of the driver, every Ray process
and every worker but the engine's core, sampled twice a second over the whole run, and takes the peak.

    python -m bench.memory [--small 5000] [--large 50000] [--json]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import psutil
import yaml

from bench.answer import print_answer
from bench.commands import environment, factory_command


def main() -> None:
    """Run both sizes; print the growth of the peak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=5000)
    parser.add_argument("--large", type=int, default=50_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    peaks: dict[int, dict[str, float]] = {}
    for images in (options.small, options.large):
        peaks[images] = peak(images)
        shown = ", ".join(f"{name} {value / 1e6:,.0f} MB" for name, value in sorted(peaks[images].items()))
        print(f"{images:,} images: {shown}", flush=True)
    small, large = peaks[options.small]["all"], peaks[options.large]["all"]
    answer = {
        "peak_rss_growth": round(large / small - 1, 3),
        "peak_mb": {
            str(images): {name: round(value / 1e6) for name, value in parts.items()} for images, parts in peaks.items()
        },
    }
    print_answer(answer, options.json)


def peak(images: int) -> dict[str, float]:
    """Peak bytes by role of one run."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(recipe_of(images)))
        command = factory_command("run", recipe, "--out", f"{folder}/run", "--quiet")
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
        highest: dict[str, float] = {}
        while process.poll() is None:
            now = sizes(psutil.Process(process.pid))
            for name, value in now.items():
                highest[name] = max(highest.get(name, 0), value)
            time.sleep(0.5)
        if process.returncode:
            raise SystemExit(f"the run with {images} images failed with exit code {process.returncode}")
        return highest


def sizes(root: psutil.Process) -> dict[str, float]:
    """Bytes now: driver, Ray's own processes, workers, and all of them; the engine's core is left out."""
    now = {"driver": 0.0, "ray": 0.0, "workers": 0.0, "all": 0.0}
    try:
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return now
    for one in processes:
        try:
            name, size = one.name() + " ".join(one.cmdline()[:1]), one.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if "VLLM" in name or "vllm" in name.lower() or "EngineCore" in name:
            continue
        role = "driver" if one.pid == root.pid else "workers" if "ray::" in name else "ray"
        now[role] += size
        now["all"] += size
    return now


def recipe_of(images: int) -> dict[str, object]:
    """Short captions of many demo scenes, scored, selected and reported; no release."""
    view = {
        "name": "short",
        "model": "demo:small",
        "prompts": [{"text": "Describe the image briefly."}],
        "sampling": {"max_tokens": 4},
        "engine": {"max_model_len": 256, "enforce_eager": True},
    }
    return {
        "name": "memory",
        "source": {"kind": "demo", "scenes": images},
        "views": [view],
        "filters": ["length", "repetition"],
        "select": {"accept": ["ok", "truncated"]},
    }


if __name__ == "__main__":
    main()
