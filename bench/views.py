"""Views that know more: what experts cost, and what they are worth, on the demo world.

Parts:
  cost   a run whose captions come at a known pace from an engine that only waits (bench/stand_in_engine.py), with the OCR expert over
         without: `expert_cost`, of the seconds from the first to the last caption's part written. Processors are free but for
         what the run itself does. `expert_ms`: of an image, in its process.
  busy   the same with the demo captioner, whose engine computes on the processors that the expert needs: `expert_cost_busy`.
  words  scenes with a printed word, captioned greedily without and with what rapidocr read, by the shipped demo captioner, which was
         taught not to listen to what stands beside an image, and by one that was taught to (bench/taught_reader.py):
         `wrong_words_shipped`, `wrong_words`: sentences that are wrong about the word, with over without; `words_shipped` and
         `words_taught`: the counts of both, with captions that do not tell the word (`missing`) and all wrong sentences.
         `words_read`: share of the words that the expert read right.

    python -m bench.views --parts cost words --json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.answer import print_answer
from bench.commands import environment, python_module
from bench.taught_reader import ASKED

SEED: Final = 3
ENGINE: Final = {"enforce_eager": True, "max_model_len": 512}
PLAIN: Final = "Describe the image in detail."
TOLD: Final = ASKED.replace("{words}", "{words|none}")
PACE_S: Final = 1.0
"""Seconds an image that the engine of the part `cost` takes: more than the expert, so that captioning is what is waited for."""


def scenes(count: int, with_word: bool) -> Iterator[Any]:
    """The first scenes of the world, all or those with a printed word."""
    from factory.demo.scenes import draw_scene

    number = 0
    while count:
        scene = draw_scene(SEED, number)
        number += 1
        if scene.word is not None or not with_word:
            count -= 1
            yield scene


def write_images(folder: Path, count: int, with_word: bool) -> None:
    """Their pictures, under their keys."""
    from factory.demo.scenes import scene_image

    folder.mkdir(parents=True)
    for scene in scenes(count, with_word):
        (folder / f"{scene.key}.img").write_bytes(scene_image(scene))


def recipe_of(images: Path, prompts: dict[str, str], model: str = "demo:small") -> dict[str, Any]:
    """A greedy view of each prompt; what a prompt asks for is rapidocr's."""
    has_weights = model == "demo:small" or (Path(model) / "model.safetensors").exists()
    view = {
        "model": model,
        "sampling": {"max_tokens": 96},
        "canary": False,
        **({"engine": ENGINE} if has_weights else {}),
    }
    return {
        "name": "views",
        "source": {"kind": "folder", "path": str(images)},
        "views": [{**view, "name": name, "prompts": [prompt]} for name, prompt in prompts.items()],
        "experts": {"words": {"kind": "rapidocr", "timeout_s": 600}},
    }


def run_here(recipe: dict[str, Any], out: str, stand_in: bool) -> dict[str, Any]:
    """Run to the end, in this process: `seconds` of captioning without the engine's start, `expert_s` of the expert's work."""
    from factory.pipeline import run_recipe
    from factory.recipe import Recipe, recipe_yaml

    if stand_in:
        from bench.stand_in_engine import PacedActor
        from factory.engines import pool

        pool.EngineActor = PacedActor  # type: ignore[misc]
    loaded = Recipe.model_validate(recipe)
    outcome = run_recipe(loaded, recipe_yaml(loaded), out, quiet=True)
    accounts = outcome.metrics.get("experts", [])
    return {
        "seconds": outcome.seconds["caption"] - outcome.made.used.get("start", 0.0),
        "expert_s": sum(one["seconds_now"] for one in accounts),
        "expert_images": sum(one["images_now"] for one in accounts),
    }


def run_apart(recipe: dict[str, Any], out: Path, stand_in: bool = False) -> dict[str, Any]:
    """The same in a process of its own."""
    arguments = ["--run", json.dumps(recipe), "--out", out, *(["--stand-in"] if stand_in else [])]
    done = subprocess.run(
        python_module("bench.views", *arguments),
        capture_output=True,
        text=True,
        env=environment(STAND_IN_PACE_S=str(PACE_S)),
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_cost(folder: Path, options: argparse.Namespace, stand_in: bool = True) -> dict[str, Any]:
    """Runs with the expert and without, in turn."""
    images = folder / "images"
    count = options.images if stand_in else options.busy_images
    write_images(images, count, with_word=False)
    model = "demo:small"
    if stand_in:
        from bench.stand_in_engine import MODEL_NAME

        model = str(folder / MODEL_NAME)
        Path(model).mkdir()
        (Path(model) / "config.json").write_text("{}")
    runs: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for repeat in range(options.repeats):
        for told in (False, True) if repeat % 2 == 0 else (True, False):
            recipe = recipe_of(images, {"told": TOLD} if told else {"plain": PLAIN}, model)
            runs[told].append(run_apart(recipe, folder / f"run-{repeat}-{told}", stand_in))
            print(f"{'with' if told else 'without'} the expert: {runs[told][-1]}", file=sys.stderr, flush=True)
    seconds = {told: statistics.median(one["seconds"] for one in made) for told, made in runs.items()}
    name = "expert_cost" if stand_in else "expert_cost_busy"
    expert_ms = [1000 * one["expert_s"] / one["expert_images"] for one in runs[True]]
    return {
        name: round(seconds[True] / seconds[False], 3),
        f"{name}_images": count,
        f"{name}_s": {"without": round(seconds[False], 1), "with": round(seconds[True], 1)},
        "expert_ms" if stand_in else "expert_ms_busy": round(statistics.median(expert_ms)),
    }


def measure_busy(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The same with an engine that needs the processors."""
    return measure_cost(folder, options, stand_in=False)


def measure_words(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What the expert's words do to captions of both captioners."""
    import factory
    from bench.taught_reader import teach
    from factory.demo.scenes import draw_scene, scene_index

    images = folder / "images"
    write_images(images, options.words, with_word=True)
    taught = options.taught or teach(folder / "taught", options.steps)
    found: dict[str, Any] = {"words_images": options.words}
    for name, model in (("shipped", "demo:small"), ("taught", str(taught))):
        out = folder / f"run-{name}"
        run_apart(recipe_of(images, {"plain": PLAIN, "told": TOLD}, model), out)
        opened = factory.Run(out)
        captions = opened.captions()
        counts = {view: _errors(captions.filter(captions["view"] == view)) for view in ("plain", "told")}
        key = "wrong_words" if name == "taught" else "wrong_words_shipped"
        found[key] = round(counts["told"]["wrong"] / max(1, counts["plain"]["wrong"]), 3)
        found[f"words_{name}"] = counts
    rows = opened.experts("words").select("image_key", "text").rows()
    right = sum(text == f'"{draw_scene(SEED, scene_index(_key(key))).word.word.upper()}"' for key, text in rows)
    return found | {"words_read": round(right / len(rows), 3)}


def _errors(captions: Any) -> dict[str, int]:
    """Of captions of scenes with a word: sentences wrong about it, captions that do not tell it, wrong sentences, all sentences."""
    from factory.demo.claims import WordClaim
    from factory.demo.scenes import draw_scene, scene_index
    from factory.demo.truth import judge_caption_of, parse_sentence, split_sentences

    counts = {"wrong": 0, "missing": 0, "wrong_sentences": 0, "sentences": 0}
    for key, text in captions.select("image_key", "text").iter_rows():
        scene = draw_scene(SEED, scene_index(_key(key)))
        verdicts = judge_caption_of(text or "", scene).sentences
        claims = [claim for part in split_sentences(text or "") for claim in parse_sentence(part) or ()]
        words = [claim.word for claim in claims if isinstance(claim, WordClaim)]
        counts["wrong"] += sum("text" in verdict.errors for verdict in verdicts)
        counts["missing"] += scene.word.word not in words
        counts["wrong_sentences"] += sum(not verdict.correct for verdict in verdicts)
        counts["sentences"] += len(verdicts)
    return counts


def _key(file: str) -> str:
    return file.removesuffix(".img")


PARTS: Final[dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]]] = {
    "cost": measure_cost,
    "busy": measure_busy,
    "words": measure_words,
}


def main() -> None:
    """Measure the parts that are asked for, or one run of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--images", type=int, default=240, help="images of the part cost (default 240)")
    parser.add_argument("--busy-images", type=int, default=512, help="images of the part busy (default 512)")
    parser.add_argument("--words", type=int, default=600, help="scenes with a printed word (default 600)")
    parser.add_argument("--steps", type=int, default=300, help="steps that teach the captioner to listen (default 300)")
    parser.add_argument("--taught", type=Path, help="a captioner that was taught before, instead")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each arm of cost and busy (default 3)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    parser.add_argument("--stand-in", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(run_here(json.loads(options.run), options.out, options.stand_in)))
        return
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    answer: dict[str, Any] = {}
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            answer |= PARTS[part](Path(folder), options)
    print_answer(answer, options.json)


if __name__ == "__main__":
    main()
