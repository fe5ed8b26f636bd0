"""Whether rounds help, on the demo world: the loop of recipes/loops/vila2.yaml, larger, with several seeds.

Parts:
  proof    the loop with each seed. `precision` (share of sentences that are right) and `recall` (share of facts told) by round and
           arm with 95 % intervals; `gain_over_longer` and `gain_over_unfiltered` of the last round's main arm at equal steps
           (`..._by_round` for each), in the share of a caption's sentences that are right: the same images and seeds in pairs, averaged over seeds first,
           so clustered by image; `..._over_seeds` is Student's interval over seeds. `rounds_improving`: rounds in a row, from the
           first, whose gain over their parent is above 0 with its interval, pooled likewise.
  guard    a round whose judge is the untaught captioner itself: `bad_judge_refused`.
  trainer  steps a second of the built-in trainer over those of a plain TRL script on the same release: `trainer_over_trl`.
  kills    kill -9 at random moments of a small loop of two rounds against an unbroken one: `kills`, `differing` (rows of ledger
           and greedy captions that differ).

Everything goes into --dir, and the same command goes on after a stop. Hours on a laptop; `--scale small` in minutes.

    python -m bench.rounds --dir rounds-proof --seeds 3 --json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.answer import print_answer
from bench.commands import ROOT, environment, factory_command, python_module

if TYPE_CHECKING:
    import polars as pl

    from factory.rounds.loop import LoopRun

RECIPE: Final = ROOT / "recipes" / "loops" / "vila2.yaml"
PARTS: Final = ("proof", "guard", "trainer", "kills")
STUDENT: Final = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Two-sided 95 % points of Student's t by number of seeds (degrees of freedom: one fewer)."""


def sizes(scale: str) -> dict[str, int]:
    """Scenes and steps: pool, labels, held_out, pretrain (steps on the pool), instruct (steps on labels)."""
    return {
        "full": {"pool": 5000, "labels": 2000, "held_out": 2000, "pretrain": 500, "instruct": 300},
        "small": {"pool": 60, "labels": 40, "held_out": 20, "pretrain": 4, "instruct": 4},
    }[scale]


def overrides(size: dict[str, int]) -> tuple[str, ...]:
    """The `--set` words that give the shipped loop these sizes; steps are equal in every arm."""
    pretrain, instruct = size["pretrain"], size["instruct"]
    few = "checkpoint_every"
    words = {
        "releases.web.source.scenes": size["pool"],
        "caption.source.scenes": size["pool"],
        "releases.labels.source.scenes": size["labels"],
        "evaluate.recipe.source.scenes": size["held_out"],
        "arms.longer.stages.0.training.steps": pretrain + instruct,
        f"arms.longer.stages.0.training.{few}": -(-(pretrain + instruct) // 8),
    }
    for chain in ("first", "round", "arms.unfiltered.stages"):
        for place, steps in enumerate((pretrain, instruct)):
            words[f"{chain}.{place}.training.steps"] = steps
            words[f"{chain}.{place}.training.{few}"] = -(-steps // 4)
    return (*(f"{name}={value}" for name, value in words.items()), "go_on.gain=0")


# --- proof --------------------------------------------------------------------------------------------------------------


def prove(folder: Path, seeds: int, rounds: int, size: dict[str, int]) -> dict[str, Any]:
    """Run the loop with each seed, and compare."""
    loops = []
    for seed in range(seeds):
        words = [*overrides(size), f"seed={seed}"]
        out = folder / f"seed-{seed}"
        command = factory_command("loop", RECIPE, "--out", out, "--rounds", str(rounds), "--json")
        subprocess.run(
            [*command, *(part for word in words for part in ("--set", word))],
            env=environment(),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        loops.append(opened(out, tuple(words)))
    return compared(loops)


def opened(out: Path, words: tuple[str, ...]) -> LoopRun:
    """A loop that is done."""
    from factory.rounds.loop import LoopRun
    from factory.rounds.loop_file import load_loop

    return LoopRun(load_loop(RECIPE, words), out, lambda line: None)


def compared(loops: list[LoopRun]) -> dict[str, Any]:
    """The answer of `proof`, from finished loops that differ in their seeds alone."""
    entries = [loop.ledger.entries() for loop in loops]
    found: dict[str, Any] = {
        "seeds": len(loops),
        "rounds": [len(one) - 1 for one in entries],
        "verdicts": [[entry["verdict"]["word"] for entry in one] for one in entries],
        "precision": {},
        "recall": {},
    }
    made = min(len([entry for entry in one if entry["arms"]]) for one in entries)
    worth: dict[tuple[int, str], list[pl.DataFrame]] = {}
    for number in range(made):
        for arm in entries[0][number]["arms"]:
            figures = [one[number]["arms"][arm]["evaluation"] for one in entries]
            place = f"round-{number}/{arm}"
            found["precision"][place] = over_seeds([one["precision"] for one in figures])
            found["recall"][place] = over_seeds([one["recall"]["mean"] for one in figures])
            worth[number, arm] = [loop.judged(number, arm).images for loop in loops]
    improving = 0
    for number in range(1, made):
        for arm in entries[0][number]["arms"]:
            if arm != "main":
                gain = paired(worth[number, "main"], worth[number, arm])
                found[f"gain_over_{arm}"] = gain["images"]
                found[f"gain_over_{arm}_over_seeds"] = gain["seeds"]
                found.setdefault(f"gain_over_{arm}_by_round", []).append(gain["images"])
        gain = paired(worth[number, "main"], worth[number - 1, "main"])
        found.setdefault("gain_over_parent_by_round", []).append(gain["images"])
        improving += int(improving == number - 1 and gain["images"]["low"] > 0)
    return found | {"rounds_improving": improving}


def over_seeds(values: list[float]) -> dict[str, Any]:
    """Mean and Student's 95 % interval of one number a seed; no interval of a single seed."""
    mean = statistics.fmean(values)
    half = STUDENT[len(values)] * statistics.stdev(values) / math.sqrt(len(values)) if len(values) in STUDENT else None
    return {
        "mean": round(mean, 4),
        "low": None if half is None else round(mean - half, 4),
        "high": None if half is None else round(mean + half, 4),
        "each": [round(value, 4) for value in values],
    }


def paired(now: list[pl.DataFrame], before: list[pl.DataFrame]) -> dict[str, Any]:
    """The gain in worth on the same images: `images` clusters by image (seeds averaged), `seeds` by seed."""
    import polars as pl

    from factory.rounds.evaluation import Interval

    gains = [
        one.join(other, on="image_key", how="inner", suffix="_before").select(
            "image_key", gain=pl.col("worth") - pl.col("worth_before")
        )
        for one, other in zip(now, before, strict=True)
    ]
    by_image = pl.concat(gains).group_by("image_key", maintain_order=True).agg(pl.col("gain").mean())
    each = [float(gain["gain"].mean() or 0.0) for gain in gains]  # type: ignore[arg-type]
    return {"images": Interval.of(by_image["gain"].to_list()).as_json(), "seeds": over_seeds(each)}


# --- guard --------------------------------------------------------------------------------------------------------------


def refuse_bad_judge(folder: Path, size: dict[str, int]) -> dict[str, Any]:
    """A round whose sentences are judged by a model that never learned to judge: the captioner of round 0 itself."""
    captioner = next((folder / "seed-0").glob("round-0/main/2-labels-*"))
    words = [
        *overrides(size | {"pool": min(500, size["pool"]), "held_out": min(100, size["held_out"])}),
        f"first={captioner}",
        "caption.filters.1.vqa_faithfulness.judge=self",
        "arms={}",
    ]
    out = folder / "bad-judge"
    command = factory_command("loop", RECIPE, "--out", out, "--rounds", "1", "--json")
    subprocess.run(
        [*command, *(part for word in words for part in ("--set", word))],
        env=environment(),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    last = opened(out, tuple(words)).ledger.entries()[-1]
    return {
        "bad_judge_refused": last["round"] == 1 and last["verdict"]["word"] == "refused",
        "bad_judge_why": last["verdict"]["why"],
        "bad_judge_auroc": (last.get("judge") or {}).get("auroc"),
    }


# --- trainer ------------------------------------------------------------------------------------------------------------


def against_trl(folder: Path, steps: int, repeats: int) -> dict[str, Any]:
    """Seconds of a step of the built-in trainer and of `bench.plain_trl`, one after the other, several times; medians."""
    release = folder / "trainer" / "release"
    if not release.exists():
        recipe = {
            "name": "trained-on",
            "source": {"kind": "demo", "scenes": 600, "seed": 7, "text": "truth"},
            "original": True,
            "release": {"to": str(release), "license": "cc0-1.0", "caption": {"rule": "original"}},
        }
        file = folder / "trainer" / "recipe.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(recipe))
        subprocess.run(
            factory_command("run", file, "--out", folder / "trainer" / "run", "--quiet"), env=environment(), check=True
        )
    files = sorted(str(path) for path in release.glob("*/sft/*.parquet"))
    ours, plain = [], []
    quiet = {"RAY_worker_niceness": "0"}  # Ray lets its workers wait for others; the plain script does not
    for repeat in range(repeats):
        to = folder / "trainer" / f"ours-{steps}-{repeat}"
        settings = [
            f"steps={steps}",
            "batch=32",
            "lr=0.001",
            "max_pixels=65536",
            "validation=0",
            "checkpoint_every=100000",
        ]
        command = factory_command("train", release, "--to", to, "--json")
        subprocess.run(
            [*command, *(part for word in settings for part in ("--set", word))],
            env=environment(**quiet),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        ours.append(per_step(to / ".training" / "curve.jsonl"))
        shutil.rmtree(to)
        told = subprocess.run(
            python_module("bench.plain_trl", str(steps), *files), env=environment(), stdout=subprocess.PIPE, check=True
        )
        plain.append(float(told.stdout.split()[-1]))
    return {
        "trainer_over_trl": round(statistics.median(plain) / statistics.median(ours), 3),
        "trainer_step_s": round(statistics.median(ours), 4),
        "trl_step_s": round(statistics.median(plain), 4),
    }


def per_step(curve: Path) -> float:
    """Seconds of a step, from the second half of a curve."""
    points = [json.loads(line) for line in curve.read_text().splitlines()]
    first, last = points[len(points) // 2], points[-1]
    return float((last["seconds"] - first["seconds"]) / (last["step"] - first["step"]))


# --- kills --------------------------------------------------------------------------------------------------------------


def kill_a_loop(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """A small loop of two rounds unbroken, and again killed at random moments until it is done."""
    words = [*overrides(sizes("small")), "guard.precision=0", "guard.auroc=0", "first=demo:small", "go_on.gain=0"]
    words += ["caption.select={best_of: vqa_faithfulness}"]
    command = [*factory_command("loop", RECIPE, "--json"), *(part for word in words for part in ("--set", word))]
    # Rounds that end early (saturated) would leave nothing to kill: both go on to the second whatever the first was worth.
    unbroken, broken = folder / "unbroken", folder / "broken"
    started = time.monotonic()
    subprocess.run([*command, "--out", str(unbroken)], env=environment(), stdout=subprocess.DEVNULL, check=True)
    whole = time.monotonic() - started
    draw = random.Random(seed)
    done = 0
    while True:
        process = subprocess.Popen(
            [*command, "--out", str(broken)], env=environment(), stdout=subprocess.DEVNULL, start_new_session=True
        )
        wait = draw.uniform(0.02, 0.9) * whole / 3 if done < kills else None
        try:
            if process.wait(wait):
                raise RuntimeError(f"the loop ended with {process.returncode}; see {broken}")
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            done += 1
    return {"kills": done, "differing": differences(unbroken, broken), "unbroken_s": round(whole, 1)}


def differences(one: Path, other: Path) -> int:
    """Rows of the ledgers and captions of the held-out images that are not the same in both loops."""
    import polars as pl

    told = [
        [comparable(entry) for entry in json.loads((loop / "rounds.json").read_text())["rounds"]]
        for loop in (one, other)
    ]
    count = abs(len(told[0]) - len(told[1])) + sum(a != b for a, b in zip(*told, strict=False))
    for run in sorted(path.relative_to(one) for path in one.rglob("judged-*") if path.is_dir()):
        captions = [
            pl.read_parquet(str(loop / run / "captions" / "*.parquet"))
            .select("image_key", "text")
            .sort("image_key", "text")
            for loop in (one, other)
        ]
        count += int(not captions[0].equals(captions[1]))
    return count


def comparable(value: Any) -> Any:
    """A ledger's entry without times and without the folder it lies in."""
    if isinstance(value, dict):
        return {
            key: comparable(one)
            for key, one in value.items()
            if key not in ("seconds", "seconds_per_kept", "checkpoint", "run", "release", "model")
        }
    if isinstance(value, list):
        return [comparable(one) for one in value]
    return value


def main() -> None:
    """Run the parts asked for, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default="rounds-proof", help="where everything is kept (default rounds-proof)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--scale", choices=("full", "small"), default="full")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=60, help="steps of each training of `trainer` (default 60)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of `trainer` (default 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    folder, size = Path(options.dir).absolute(), sizes(options.scale)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"size": size}
    if "proof" in options.parts:
        found |= prove(folder, options.seeds, options.rounds, size)
    if "guard" in options.parts:
        found |= refuse_bad_judge(folder, size)
    if "trainer" in options.parts:
        found |= against_trl(folder, options.steps, options.repeats)
    if "kills" in options.parts:
        found |= kill_a_loop(folder, options.kills, 0)
    print_answer(found, options.json)


if __name__ == "__main__":
    main()
