"""Kill things at random moments and run again: every image exactly once, nothing finished is made twice, same captions.

Two Ray nodes on this machine. Ten SIGKILLs, each at a random moment of the captioning: the driver, the engine's core, a
Ray worker, the raylet of the second node. A run that ends by a kill is started again with the same command. At the end
the captions are compared with those of an unbroken greedy run.

    python -m bench.kill [--images 1500] [--kills 10] [--seed 0] [--json]

Keys of the JSON: kills, lost (images without an outcome), duplicated (images with two outcomes when the tables are read),
recaptioned_beyond_in_flight (captions written again although the first was written IN_FLIGHT_S before any kill), differing
(captions unlike the unbroken run's).
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import polars as pl
import psutil
import yaml

from bench.answer import print_answer
from bench.commands import environment, factory_command

TARGETS = ("driver", "engine core", "ray worker", "second raylet")
IN_FLIGHT_S = 3.0


def main() -> None:
    """Break a run ten times, then compare it with an unbroken one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(recipe_of(options.images)))
        unbroken, broken = Path(folder) / "unbroken", Path(folder) / "broken"
        run_whole(recipe, unbroken)
        kills = run_broken(recipe, broken, options)
        answer = compare(unbroken, broken, options.images, kills)
    print_answer(answer, options.json)
    if any(answer[name] for name in ("lost", "duplicated")):
        raise SystemExit(1)


def recipe_of(images: int) -> dict[str, Any]:
    """Greedy detailed captions of demo scenes."""
    view = {
        "name": "detailed",
        "model": "demo:small",
        "prompts": [{"text": "Describe the image in details."}],
        "sampling": {"max_tokens": 64},
        "engine": {"max_model_len": 512, "enforce_eager": True},
    }
    return {
        "name": "kill",
        "source": {"kind": "demo", "scenes": images},
        "views": [view],
        "select": {"accept": ["ok", "truncated"]},
    }


def command(recipe: Path, out: Path) -> list[str]:
    """The same command every time."""
    return factory_command("run", recipe, "--out", out, "--quiet")


def run_whole(recipe: Path, out: Path) -> None:
    """The unbroken run."""
    subprocess.run(command(recipe, out), env=environment(), check=True, stdout=subprocess.DEVNULL)


def run_broken(recipe: Path, out: Path, options: argparse.Namespace) -> list[tuple[float, str]]:
    """The run with kills. Returns the time and target of each."""
    from ray.cluster_utils import Cluster

    rng = random.Random(options.seed)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 500_000_000})
    second = cluster.add_node(num_cpus=2, object_store_memory=500_000_000)
    of_cluster = environment(RAY_ADDRESS=cluster.address)
    order = [TARGETS[number % len(TARGETS)] for number in range(options.kills)]
    rng.shuffle(order)
    moments = sorted(rng.uniform(0.03, 0.9) for _ in order)
    kills: list[tuple[float, str]] = []
    process = None
    started = time.monotonic()
    try:
        while time.monotonic() - started < 3000:
            if process is None or (process.poll() is not None and (process.returncode or kills_left(kills, order))):
                if process is not None and process.returncode == 0 and finished(out) >= options.images:
                    break
                process = subprocess.Popen(
                    command(recipe, out), env=of_cluster, stdout=subprocess.DEVNULL, start_new_session=True
                )
            if process.poll() == 0:
                break
            time.sleep(0.2)
            if kills_left(kills, order) and finished(out) / options.images >= moments[len(kills)]:
                target = order[len(kills)]
                if kill(target, process, second, rng):
                    kills.append((time.time(), target))
                    print(
                        f"kill {len(kills)}: {target} at {finished(out)} of {options.images}",
                        file=sys.stderr,
                        flush=True,
                    )
                    if target == "second raylet":
                        second = cluster.add_node(num_cpus=2, object_store_memory=500_000_000)
    finally:
        if process is not None and process.poll() is None:
            process.kill()
        cluster.shutdown()
    return kills


def kills_left(kills: list[tuple[float, str]], order: list[str]) -> bool:
    """Whether something is still to be killed."""
    return len(kills) < len(order)


def kill(target: str, driver: subprocess.Popen[bytes], second: Any, rng: random.Random) -> bool:
    """SIGKILL the target; False where there is none at this moment."""
    if target == "driver":
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        return True
    if target == "second raylet":
        second.kill_raylet()
        return True
    names = {"engine core": ("VLLM::EngineCor", "EngineCore"), "ray worker": ("ray::",)}[target]
    found = [
        one
        for one in psutil.process_iter(["cmdline"])
        if any(name in " ".join(one.info["cmdline"] or []) for name in names)
    ]
    found = [one for one in found if "IDLE" not in " ".join(one.info["cmdline"])]
    if not found:
        return False
    try:
        rng.choice(sorted(found, key=lambda one: one.pid)).kill()
    except psutil.NoSuchProcess:
        return False
    return True


def finished(out: Path) -> int:
    """Caption rows written so far."""
    return sum(read_rows(file) for file in out.glob("captions/part-*.parquet"))


def read_rows(file: Path) -> int:
    """Rows of one part; 0 if it is being replaced."""
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(file).num_rows)
    except FileNotFoundError:
        return 0


def compare(unbroken: Path, broken: Path, images: int, kills: list[tuple[float, str]]) -> dict[str, Any]:
    """The numbers."""
    from exports.storage import Storage
    from factory.runs.run import Run
    from factory.work.work import reopen

    def captions(folder: Path) -> pl.DataFrame:
        run = Run(Storage(str(folder)))
        return run.captions(reopen(run).caption_fingerprints).collect()

    good, bad = captions(unbroken), captions(broken)
    raw = Run(Storage(str(broken))).scan("captions", good.schema).select("image_key", "created_ms", "status").collect()
    again = (
        raw.filter(pl.col("status") != "failed")
        .group_by("image_key")
        .agg(pl.col("created_ms").min(), pl.len())
        .filter(pl.col("len") > 1)
    )
    beyond = [at for at in again["created_ms"] if not any(-1 <= when - at / 1000 <= IN_FLIGHT_S for when, _ in kills)]
    both = good.join(bad, on="image_key", suffix="_bad")
    return {
        "kills": len(kills),
        "lost": images - bad.filter(pl.col("status") != "failed")["image_key"].n_unique(),
        "duplicated": bad.height - bad["image_key"].n_unique(),
        "recaptioned_in_flight": again.height - len(beyond),
        "recaptioned_beyond_in_flight": len(beyond),
        "differing": both.filter(pl.col("text").ne_missing(pl.col("text_bad"))).height,
        "images": images,
        "targets": [target for _, target in kills],
    }


if __name__ == "__main__":
    main()
