"""How often a run starts Ray and engines, and how long it takes beside the same run of an earlier commit.

The run: 512 scenes of the demo world, questions answered by the captioner itself and by another model, a ladder of three rungs.

    python -m bench.starts [--before COMMIT] [--images 512] --json

Keys: `engine_starts` and `ray_starts` of the run by this checkout, `wall_over_before` (its seconds over those of the commit,
both run here one after the other), and the same counts of the commit. Engines are counted by the logs that each writes, Rays
by the session directories that each makes. `--before none` leaves the comparison out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import yaml

from bench.answer import print_answer
from bench.commands import ROOT, factory_command

BEFORE = "c92eb32"
ENGINE: dict[str, Any] = {"max_model_len": 512}


def recipe(images: int, judge: str) -> dict[str, Any]:
    """A view, a judge `self`, an independent one, three rungs."""
    view = {
        "name": "detailed",
        "model": "demo:small",
        "prompts": [{"text": "Describe the image in details."}],
        "sampling": {"max_tokens": 128},
        "engine": ENGINE,
    }
    return {
        "name": "starts",
        "seed": 17,
        "source": {"kind": "demo", "scenes": images, "seed": 41},
        "views": [view],
        "filters": [
            "vqa_faithfulness",
            {"name": "caption_likelihood", "params": {"judge": {"model": judge, "engine": ENGINE}}},
        ],
        "repair": {
            "by": "vqa_faithfulness",
            "least": 0.5,
            "regenerate": [{"temperature": 0.5, "n": 2}, {"temperature": 0.8, "n": 2}, {"temperature": 1.0, "n": 4}],
        },
        "select": {"best_of": "vqa_faithfulness"},
    }


def measured(checkout: Path, folder: Path, images: int, judge: str) -> dict[str, Any]:
    """Seconds of the run by a checkout, and how many engines and Rays it started."""
    folder.mkdir()
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(images, judge), sort_keys=False))
    with tempfile.TemporaryDirectory(prefix="r") as sessions:  # sockets lie below it: its name must be short
        environment = {**os.environ, "PYTHONPATH": str(checkout), "RAY_TMPDIR": sessions}
        started = time.monotonic()
        command = factory_command("run", file, "--out", folder / "run", "--json")
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - started
        rays = sum(not one.is_symlink() for one in Path(sessions).rglob("session_*") if one.is_dir())
    logs = folder / "run" / "logs"
    engines = sum(len(list(logs.glob(f"{name}-*.log"))) for name in ("engine", "judge"))
    return {"seconds": round(seconds, 1), "engine_starts": engines, "ray_starts": rays}


@contextmanager
def checkout_of(commit: str, folder: Path) -> Iterator[Path]:
    """A work tree of a commit of this repository."""
    tree = folder / "tree"
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--detach", str(tree), commit], check=True, stdout=subprocess.DEVNULL)
    try:
        yield tree
    finally:
        subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def main() -> None:
    """Run by this checkout, then by the other; print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--before", default=BEFORE, help=f"the commit to compare with (default {BEFORE}); 'none' leaves it out"
    )
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--judge", default="demo:judge", help="the independent judge: demo:NAME or a directory")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        now = measured(ROOT, folder / "now", options.images, options.judge)
        answer = {"images": options.images, **now}
        if options.before != "none":
            with checkout_of(options.before, folder) as tree:
                before = measured(tree, folder / "before", options.images, options.judge)
            answer["wall_over_before"] = round(now["seconds"] / before["seconds"], 3)
            answer |= {f"before_{name}": value for name, value in before.items()}
    print_answer(answer, options.json)


if __name__ == "__main__":
    main()
