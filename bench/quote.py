"""How far quotes are from what runs then take, on three recipes: plain, with candidates and a release, and with questions.

Each recipe is quoted by a probe with nothing known before (a cache of its own), then run; what the run writes about its quote
counts. Both are on this machine, one after the other, engines' starts included.

    python -m bench.quote [--probe 64] [--images 192] [--only plain candidates questions] --json

Keys: `quote_error`, the largest |actual - quoted| / actual; `errors` of each recipe with their signs; `quoted_s` [low, likely, high]
and `actual_s`; `inside`, recipes whose time was within the interval; `speed_of_light` of each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import yaml

from bench.answer import print_answer
from bench.commands import environment, factory_command

ENGINE: dict[str, Any] = {"max_model_len": 512, "enforce_eager": True, "max_num_seqs": 64}
TEXT_FILTERS: list[Any] = ["length", "repetition", "truncation", "prompt_leak", "refusal", "token_confidence"]


def recipes(images: int) -> dict[str, dict[str, Any]]:
    """The three recipes by name."""
    view = {"name": "detailed", "model": "demo:small", "prompts": ["Describe the image in details."], "engine": ENGINE}
    source = {"kind": "demo", "scenes": images, "seed": 5}
    plain = {
        "name": "plain",
        "source": source,
        "views": [view | {"sampling": {"max_tokens": 64}}],
        "filters": TEXT_FILTERS,
        "select": {"require": {"length": 1.0}},
    }
    candidates = plain | {
        "name": "candidates",
        "views": [view | {"sampling": {"max_tokens": 96, "temperature": 0.7, "n": 2}}],
        "select": {"require": {"length": 1.0}, "best_of": "token_confidence", "keep_top": {"token_confidence": 0.7}},
        "release": {"to": "released", "license": "cc0-1.0", "image_license": "cc0-1.0"},
    }
    questions = plain | {"name": "questions", "filters": [*TEXT_FILTERS, "vqa_faithfulness"]}
    return {"plain": plain, "candidates": candidates, "questions": questions}


def measured(recipe: dict[str, Any], folder: Path, probe: int) -> dict[str, Any]:
    """Quote a recipe, run it, and give what the run wrote."""
    folder.mkdir()
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    around = environment(FACTORY_CACHE=str(folder / "cache"))
    for command in (
        ["quote", file, "--probe", str(probe), "--json"],
        ["run", file, "--out", folder / "run", "--quiet", "--json"],
    ):
        subprocess.run(factory_command(*command), cwd=folder, env=around, check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads((folder / "run" / "metrics.json").read_text())
    return found


def main() -> None:
    """Quote and run each recipe; print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probe", type=int, default=64)
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--only", nargs="+", choices=list(recipes(1)), help="some of the recipes")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    quotes: dict[str, Any] = {}
    speeds: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        for name, recipe in recipes(options.images).items():
            if options.only is None or name in options.only:
                metrics = measured(recipe, Path(temporary) / name, options.probe)
                quotes[name], speeds[name] = metrics["quote"], metrics["speed_of_light"]["line"]
                print(f"{name}: {quotes[name]}", flush=True)
    inside = [name for name, one in quotes.items() if one["quoted_s"][0] <= one["actual_s"] <= one["quoted_s"][2]]
    answer = {
        "quote_error": max(abs(one["error"]) for one in quotes.values()),
        "errors": {name: one["error"] for name, one in quotes.items()},
        "quoted_s": {name: one["quoted_s"] for name, one in quotes.items()},
        "actual_s": {name: one["actual_s"] for name, one in quotes.items()},
        "inside": inside,
        "speed_of_light": speeds,
        "probe": options.probe,
        "images": options.images,
        "load": round(os.getloadavg()[0], 1),
    }
    print_answer(answer, options.json)


if __name__ == "__main__":
    main()
