"""How fast the text filters are on one core, what they flag in captions by people, and what in captions by VLMs.

    python bench/filters.py [--data FOLDER] [--rows 200000] [--seed 0] [--json]

FOLDER has `gcc_validation.txt` (human captions, one a line: Conceptual Captions' validation set) and any number of
`vlm_*.jsonl` (captions by VLMs, one object with `text` a line: POPE's). Without it captions are drawn from a small grammar,
and only the speed is measured. Each measurement is one function below; MEASUREMENTS has them by name.

Keys of the JSON: text_per_s_24, text_per_s_120 (captions a second on one core through all text filters but toxicity, at
24 and 120 words), text_per_s (the same by filter), false_positives (share of the human captions flagged, by drop rule) and
false_positives_max, flagged (share of each VLM's captions flagged, by drop rule, by any, and by `repetition_or_leak`),
rates (share below 1 of the filters that are no drop rules).
auroc_alignment (the demo world's encoder: true sentences against ones with one attribute swapped, on unseen scenes),
auroc_alignment_shuffled (with another scene's image), auroc_alignment_caption (the same of whole captions) and its
_shuffled, alignment_per_s (sentences a second with an image each), image_per_s (JPEGs of 640x480 a second by filter) and
image_per_s_all (through all of them that need no model and no OCR).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["POLARS_MAX_THREADS"] = "1"  # before polars is imported
sys.path[0] = str(Path(__file__).resolve().parents[1])  # this script's own folder would hide the package of its name

import polars as pl  # noqa: E402

from filters import FilterError, build, score, train_quality  # noqa: E402
from filters.contract import Filter  # noqa: E402
from filters.fasttext_model import import_fasttext  # noqa: E402

DROP_RULES = {
    "length": 1.0,
    "shape": 1.0,
    "language": 0.5,
    "repetition": 0.7,
    "refusal": 0.5,
    "boilerplate": 0.5,
    "prompt_leak": 0.5,
    "artifacts": 0.5,
    "pii": 0.5,
}
"""Text filters that a caption may be dropped by, each with the score below which it is."""
RATES = ("opener", "hedging")
"""Text filters that are no drop rules."""
REPETITION_OR_LEAK = ("repetition", "prompt_leak", "artifacts", "refusal")
WORDS = (24, 120)


@dataclass(frozen=True)
class Bench:
    """What all measurements share."""

    options: argparse.Namespace
    human: list[str]
    vlm: dict[str, list[str]]
    filters: dict[str, Filter]


def main() -> None:
    """Run every measurement; print its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", type=int, default=1000, help="of alignment")
    parser.add_argument("--images", type=int, default=300, help="of image_speed")
    parser.add_argument("--only", choices=sorted(MEASUREMENTS), nargs="*", default=list(MEASUREMENTS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    one_core()
    with tempfile.TemporaryDirectory() as folder:
        bench = prepare(options, Path(folder))
        answer: dict[str, Any] = {}
        for name in options.only:
            answer |= MEASUREMENTS[name](bench)
    for name, value in answer.items():
        print(f"{name}: {value}")
    if options.json:
        print(json.dumps(answer))


def one_core() -> None:
    """Keep this process on one of its cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def prepare(options: argparse.Namespace, folder: Path) -> Bench:
    """The captions and the filters."""
    human, vlm = captions_of(options.data) if options.data else (drawn(20_000, options.seed), {})
    filters = {name: build(name, {}) for name in (*DROP_RULES, *RATES, "truncation") if name != "language"}
    return Bench(options, human, vlm, filters | {"language": language(folder), "quality": quality(folder, human, vlm)})


def captions_of(folder: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The human captions and those of each VLM."""
    human = (folder / "gcc_validation.txt").read_text().splitlines()
    vlm = {
        file.stem: [json.loads(line)["text"] for line in file.read_text().splitlines()]
        for file in sorted(folder.glob("vlm_*.jsonl"))
    }
    return human, vlm


def drawn(count: int, seed: int) -> list[str]:
    """Captions of a small grammar."""
    rng = random.Random(seed)
    things = [
        "dog",
        "cat",
        "man",
        "woman",
        "bus",
        "train",
        "plate",
        "kite",
        "horse",
        "boat",
        "lamp",
        "child",
        "chair",
        "tree",
    ]
    looks = ["red", "small", "old", "wooden", "shiny", "wet", "tall", "striped", "empty", "white"]
    does = ["stands", "sits", "runs", "waits", "lies", "leans", "hangs", "looks"]
    where = [
        "on a street",
        "in a park",
        "near the water",
        "under a bridge",
        "beside a wall",
        "in front of a house",
        "at a table",
    ]

    def sentence() -> str:
        return f"A {rng.choice(looks)} {rng.choice(things)} {rng.choice(does)} {rng.choice(where)}."

    return [" ".join(sentence() for _ in range(rng.randint(1, 8))) for _ in range(count)]


def language(folder: Path) -> Filter:
    """With lid.176.ftz where it is installed, else with a model of the shape of lid.176 that knows little."""
    found = build("language", {})
    try:
        found.models()
    except FilterError:
        print("no language model is installed: timing a stand-in of the same shape", file=sys.stderr)
    else:
        return found
    lines, path = folder / "languages.txt", folder / "languages.bin"
    rng = random.Random(0)
    names = ["en", *(f"l{number}" for number in range(175))]
    lines.write_text(
        "".join(f"__label__{name} {' '.join(rng.choices(drawn(9, i), k=3))}\n" for i, name in enumerate(names * 3))
    )
    shape = {"dim": 16, "minn": 2, "maxn": 4, "bucket": 2_000_000, "loss": "hs", "epoch": 1, "thread": 1, "verbose": 0}
    import_fasttext("the bench").train_supervised(input=str(lines), **shape).save_model(str(path))
    return build("language", {"model": str(path)})


def quality(folder: Path, human: list[str], vlm: dict[str, list[str]]) -> Filter:
    """A model that tells the human captions from others; what it learns does not matter for the speed."""
    others = [text for texts in vlm.values() for text in texts] or [" ".join(text.split()[::-1]) for text in human]
    return build("quality", {"model": train_quality(human, others, folder / "quality.bin").path})


def of_length(bench: Bench, words: int) -> pl.DataFrame:
    """`rows` captions of exactly that many words: captions one after another, then two words changed, so that none is twice."""
    rng = random.Random(bench.options.seed)
    pool = [text.split() for text in (*bench.human, *(text for texts in bench.vlm.values() for text in texts))]
    pool = [text for text in pool if text]
    rows = []
    for _ in range(bench.options.rows):
        text: list[str] = []
        while len(text) < words:
            text += rng.choice(pool)
        del text[words:]
        for _ in range(2):
            text[rng.randrange(words)] = rng.choice(rng.choice(pool))
        rows.append(" ".join(text))
    return pl.DataFrame({"text": rows})


def text_speed(bench: Bench) -> dict[str, Any]:
    """Captions a second through all text filters, and through each."""
    answer: dict[str, Any] = {"rows": bench.options.rows, "text_per_s": {}}
    for words in WORDS:
        frame = of_length(bench, words)
        score(frame[:8192], list(bench.filters.values()))  # models are loaded and patterns compiled once in a process
        seconds = {name: timed(frame, one) for name, one in bench.filters.items()}
        answer[f"text_per_s_{words}"] = round(frame.height / sum(seconds.values()))
        answer["text_per_s"][str(words)] = {name: round(frame.height / took) for name, took in seconds.items()}
    return answer


def timed(frame: pl.DataFrame, one: Filter) -> float:
    """Seconds for one filter over the frame."""
    started = time.perf_counter()
    score(frame, one)
    return time.perf_counter() - started


def text_flags(bench: Bench) -> dict[str, Any]:
    """What the text filters flag in the captions by people and by VLMs."""
    if not bench.vlm:
        return {}
    human = flagged(bench, bench.human)
    by_vlm = {name: flagged(bench, texts) for name, texts in bench.vlm.items()}
    shares = {name: human[name].mean() for name in DROP_RULES}
    return {
        "false_positives": {name: round(share, 5) for name, share in shares.items()},
        "false_positives_max": round(max(shares.values()), 5),
        "false_positives_any": round(human.select(pl.any_horizontal(*DROP_RULES).mean()).item(), 5),
        "flagged": {
            name: {rule: round(table[rule].mean(), 4) for rule in DROP_RULES}
            | {
                "any": round(table.select(pl.any_horizontal(*DROP_RULES).mean()).item(), 4),
                "repetition_or_leak": round(table.select(pl.any_horizontal(*REPETITION_OR_LEAK).mean()).item(), 4),
            }
            for name, table in by_vlm.items()
        },
        "rates": {
            name: {rate: round(table[rate].mean(), 4) for rate in RATES}
            for name, table in {"human": human, **by_vlm}.items()
        },
    }


def flagged(bench: Bench, texts: list[str]) -> pl.DataFrame:
    """One Boolean column a drop rule: below its threshold; and one a rate: below 1."""
    names = [*DROP_RULES, *RATES]
    scored = score(texts, [bench.filters[name] for name in names])
    return scored.select((pl.col(name) < DROP_RULES.get(name, 1.0)).fill_null(False) for name in names)


def alignment(bench: Bench) -> dict[str, Any]:
    """How well the demo world's encoder tells true sentences from ones with one attribute swapped, on unseen scenes: by the
    image beside them, and by another scene's; and whole captions with one such sentence from whole true ones.
    """
    from factory.demo.checkpoint import checkpoint_path
    from factory.demo.language import falsified, scene_claims, sentence
    from factory.demo.measure import auroc
    from factory.demo.scenes import draw_scene, scene_image

    scenes = [draw_scene(bench.options.seed, index, "heldout") for index in range(bench.options.scenes)]
    images = [scene_image(scene) for scene in scenes]
    rng = random.Random(bench.options.seed)
    rows: list[tuple[str, int, bool, bool]] = []  # text, scene, whether true, whether a whole caption
    for number, scene in enumerate(scenes):
        claims = scene_claims(scene)
        for place, claim in enumerate(claims):
            changed = falsified([claim], scene, rng)
            if changed is None:
                continue
            rows += [(sentence(claim), number, True, False), (sentence(changed[0][0]), number, False, False)]
            if place == number % len(claims):
                swapped = [*claims[:place], changed[0][0], *claims[place + 1 :]]
                rows.append((" ".join(map(sentence, claims)), number, True, True))
                rows.append((" ".join(map(sentence, swapped)), number, False, True))
    frame = pl.DataFrame(
        rows, {"text": pl.String, "scene": pl.Int64, "true": pl.Boolean, "whole": pl.Boolean}, orient="row"
    )
    filter_ = build("alignment", {"model": str(checkpoint_path("align"))})
    answer: dict[str, Any] = {}
    for name, step in (("", 0), ("_shuffled", 1)):
        beside = pl.Series([images[(number + step) % len(images)] for number in frame["scene"]])
        started = time.perf_counter()
        scored = frame.with_columns(image=beside)
        scored = scored.with_columns(score=score(scored, filter_)["alignment"])
        answer["alignment_per_s"] = round(frame.height / (time.perf_counter() - started))
        for level, whole in (("", False), ("_caption", True)):
            some = scored.filter(whole=whole)
            found = auroc(some["score"].to_list(), some["true"].to_list())
            answer[f"auroc_alignment{level}{name}"] = None if found is None else round(found, 4)
    return answer


def image_speed(bench: Bench) -> dict[str, Any]:
    """Images a second through each image filter that needs no model, through all of them together, and read by OCR."""
    from factory.demo.source_row import source_row
    from filters.pixels import decode

    def drawn_jpeg(index: int) -> bytes:
        buffer = io.BytesIO()
        decode(source_row(bench.options.seed, index).image).resize((640, 480)).save(buffer, "JPEG", quality=90)
        return buffer.getvalue()

    names = ("image_size", "image_aspect", "image_integrity", "blank_image", "image_hash")
    answer: dict[str, Any] = {"image_per_s": {}}
    for at, name in enumerate(names):  # other images for each, since what was found out about an image is kept
        frame = pl.DataFrame({"image": [drawn_jpeg(1000 * at + index) for index in range(bench.options.images)]})
        answer["image_per_s"][name] = round(frame.height / timed(frame, build(name, {})))
    frame = pl.DataFrame({"image": [drawn_jpeg(9000 + index) for index in range(bench.options.images)]})
    answer["image_per_s_all"] = round(frame.height / sum(timed(frame, build(name, {})) for name in names))
    few = frame.head(max(1, bench.options.images // 20)).with_columns(text=pl.lit('A sign says "stop".'))
    reader = build("ocr_consistency", {})
    score(few.head(1), reader)
    answer["image_per_s"]["ocr_consistency"] = round(few.height / timed(few, reader), 2)
    return answer


MEASUREMENTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "text_speed": text_speed,
    "text_flags": text_flags,
    "alignment": alignment,
    "image_speed": image_speed,
}

if __name__ == "__main__":
    main()
