"""How fast the filters are on one core, what they flag in captions by people, and what in captions by VLMs.

    python -m bench.filters [--data FOLDER] [--rows 200000] [--seed 0] [--only NAME ...] [--json]
        [--set-rows 1000000 10000000] [--set-filters NAME ...] [--set-folder FOLDER] [--peers PYTHON] [--peer-rows 200000]

FOLDER has `gcc_validation.txt` (human captions, one a line: Conceptual Captions' validation set) and any number of
`vlm_*.jsonl` (captions by VLMs, one object with `text` a line: POPE's). Without it captions are drawn from a small grammar,
and only the speed is measured. Each measurement is one function below; MEASUREMENTS has them by name.

Keys of the JSON: text_per_s_24, text_per_s_120 (captions a second on one core through all text filters but toxicity, at
24 and 120 words), text_per_core_s_24, text_per_core_s_120 (the same a second of the processor, which others on the machine
change less), text_per_s (the first by filter), false_positives (share of the human captions flagged, by drop rule) and
false_positives_max, flagged (share of each VLM's captions flagged, by drop rule, by any, and by `repetition_or_leak`),
rates (share below 1 of the filters that are no drop rules), calibration_held and calibration_wanted (over 200 resamples
of labelled demo captions: how often the promised precision held on the unseen rows, and how often it was promised to; the
worst of `calibration`, which has every score, target and confidence).

Of the set filters: set_level (microseconds a row by the clock and of the processor, and peak memory in MB, by filter, for
each of `--set-rows`), set_time_per_row_last_over_first and set_peak_rss_growth (the last of `--set-rows` over the first:
processor time a row of all set filters together; peak memory of the filter where it grew most). Each run has a process of
its own. 10 million rows take some ten minutes and 10 GB of disk, and are measured only where `--set-rows` names them.

Of `factory filter` as a whole: time_per_row_10m_over_1m and peak_rss_growth (bench/filter_scale.py).

Of the same rules (length, language, repetition, near duplicates) in datatrove and data-juicer, where PYTHON is one that has
the extra `bench-peers`: over_datatrove, over_data_juicer (captions a second through all four, ours over theirs), and
peers (seconds by rule).

Of images: auroc_alignment (the demo world's encoder: true sentences against ones with one attribute swapped, on unseen scenes),
auroc_alignment_shuffled (with another scene's image), auroc_alignment_caption (the same of whole captions) and its
_shuffled, alignment_per_s (sentences a second with an image each), image_per_s (JPEGs of 640x480 a second by filter) and
image_per_s_all (through all of them that need no model and no OCR).
"""

from __future__ import annotations

import argparse
import io
import json
import math
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["POLARS_MAX_THREADS"] = "1"  # before polars is imported
if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import polars as pl

from bench.answer import print_answer
from bench.commands import environment, python_module
from bench.drawn_captions import captions_of, human_captions
from factory.filtering import DEFAULTS
from filters import FilterError, SetFilter, build, score, train_quality
from filters.contract.filter import Filter

DROP_RULES = {name: least for name, least in DEFAULTS.items() if least is not None}
"""Text filters that a caption may be dropped by, each with the score below which it is."""
RATES = tuple(name for name, least in DEFAULTS.items() if least is None)
"""Text filters that are no drop rules."""
REPETITION_OR_LEAK = ("repetition", "prompt_leak", "artifacts", "refusal")
WORDS = (24, 120)
LABELS = 400
"""Captions of the calibration that are labelled in a resample, but never more than half of them."""
SET_FILTERS = (
    "exact_duplicates",
    "near_duplicates",
    "repeated_caption",
    "shifted_rows",
    "opener_share",
    "length_cliff",
)
"""Set filters; without language_drift, whose time is that of the language model."""
PEER_RULES = ("length", "language", "repetition", "near_duplicates")
FILE_ROWS = 2**16


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
    parser.add_argument("--set-rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--set-folder", type=Path, help="where the rows of set_level stay for the next run")
    parser.add_argument("--set-filters", choices=SET_FILTERS, nargs="*", default=SET_FILTERS)
    parser.add_argument("--peers", type=Path, metavar="PYTHON")
    parser.add_argument("--peer-rows", type=int, default=200_000)
    parser.add_argument("--scenes", type=int, default=1000, help="of alignment")
    parser.add_argument("--captioned-scenes", type=int, default=3000, help="of calibration")
    parser.add_argument("--resamples", type=int, default=200, help="of calibration")
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
    print_answer(answer, options.json)


def one_core() -> None:
    """Keep this process on one of its cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def prepare(options: argparse.Namespace, folder: Path) -> Bench:
    """The captions and the filters."""
    human, vlm = captions_of(options.data) if options.data else (human_captions(None, options.seed), {})
    filters = {name: build(name, {}) for name in (*DROP_RULES, *RATES, "truncation")}
    return Bench(options, human, vlm, filters | {"quality": quality(folder, human, vlm)})


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
        times = {name: timed(frame, one) for name, one in bench.filters.items()}
        answer[f"text_per_s_{words}"] = round(frame.height / sum(seconds for seconds, _ in times.values()))
        answer[f"text_per_core_s_{words}"] = round(frame.height / sum(busy for _, busy in times.values()))
        answer["text_per_s"][str(words)] = {name: round(frame.height / seconds) for name, (seconds, _) in times.items()}
    return answer


def timed(frame: pl.DataFrame, one: Filter) -> tuple[float, float]:
    """Seconds for one filter over the frame, by the clock and of the processor."""
    started, busy = time.perf_counter(), time.process_time()
    score(frame, one)
    return time.perf_counter() - started, time.process_time() - busy


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


def calibration(bench: Bench) -> dict[str, Any]:
    """Whether the precision that a calibration promises holds, on captions that the demo captioner wrote."""
    rows = demo_captions(bench.options.captioned_scenes, bench.options.seed)
    base = float(rows["label"].mean())
    answer: dict[str, Any] = {}
    for score_names in (["token_confidence"], ["yes"], ["token_confidence", "yes", "short"]):
        for target in (round(base + (1 - base) * 0.4, 3), round(base + (1 - base) * 0.7, 3)):
            for confidence in (0.9, 0.95):
                name = f"{'+'.join(score_names)} {target:g} at {confidence:g}"
                answer[name] = resampled(rows, score_names, target, confidence, bench.options.resamples)
    worst = min(answer.values(), key=lambda one: one["held"] - one["confidence"])
    return {
        "calibration": answer,
        "calibration_base": round(base, 4),
        "calibration_held": worst["held"],
        "calibration_wanted": worst["confidence"],
    }


def resampled(
    rows: pl.DataFrame, score_names: list[str], target: float, confidence: float, resamples: int
) -> dict[str, Any]:
    """Calibrate on `resamples` draws of at most LABELS rows. `promised`: share of draws that named a threshold; `held`: share whose
    promise held on the rows not drawn, or that made none; `held_of_promised`: of those that made one; `kept`: mean share of
    the unseen rows that a threshold kept.
    """
    from filters.calibration.calibrate import calibrate

    held = promised = 0
    kept: list[float] = []
    one = score_names if len(score_names) > 1 else score_names[0]
    for seed in range(resamples):
        drawn = rows.sample(min(LABELS, rows.height // 2), seed=seed)
        try:
            made = calibrate(
                drawn,
                one,
                target_precision=target,
                confidence=confidence,
                group="image_key",
                population=rows.drop("label"),
            )
        except FilterError:  # too few wrong ones to fit a stack on
            held += 1
            continue
        if made.threshold is None:
            held += 1
            continue
        unseen = rows.join(drawn, on="image_key", how="anti")
        passed = unseen.filter(made.score() >= made.threshold)
        promised += 1
        held += bool(passed["label"].mean() >= target)
        kept.append(passed.height / unseen.height)
    return {
        "held": held / resamples,
        "held_of_promised": round((held - resamples + promised) / max(1, promised), 4),
        "confidence": confidence,
        "promised": promised / resamples,
        "kept": round(sum(kept) / max(1, len(kept)), 3),
    }


def demo_captions(scenes: int, seed: int) -> pl.DataFrame:
    """A caption that the demo captioner sampled of each of so many scenes, whether all of it is true, and three scores: the
    mean probability of its tokens, the captioner's own P(yes) that it is right, and its length (longer is lower).
    """
    import torch

    from factory.demo import measure
    from factory.demo.checkpoint import checkpoint_path, load_checkpoint
    from factory.demo.language import DETAILED_PROMPTS, QUESTIONS
    from factory.demo.scenes import draw_scene
    from factory.demo.truth import judge_caption_of

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model, processor = load_checkpoint(checkpoint_path("small"))
    model = model.float()
    rows = []
    for start in range(0, scenes, 1000):
        some = [draw_scene(seed, index, "heldout") for index in range(start, min(scenes, start + 1000))]
        pixels = measure.prepare_pixels(processor, some)
        texts = measure.write_captions(model, processor, pixels, DETAILED_PROMPTS[0], temperature=0.7)
        asked = [(place, QUESTIONS[0].format(statement=text)) for place, text in enumerate(texts)]
        yes = measure.yes_probabilities(model, processor, pixels, asked)
        said = [(place, DETAILED_PROMPTS[0], text) for place, text in enumerate(texts)]
        logprobs = measure.answer_logprobs(model, processor, pixels, said)
        for scene, text, share, tokens in zip(some, texts, yes, logprobs, strict=True):
            rows.append(
                {
                    "image_key": scene.key,
                    "label": judge_caption_of(text, scene).correct,
                    "token_confidence": math.exp(sum(tokens) / len(tokens)),
                    "yes": share,
                    "short": 1 / (1 + len(text.split()) / 20),
                }
            )
    return pl.DataFrame(rows)


def set_level(bench: Bench) -> dict[str, Any]:
    """Time, memory and disk that each set filter takes a row, at several numbers of rows."""
    measured: dict[str, dict[str, Any]] = {name: {} for name in bench.options.set_filters}
    pool = [text.split() for text in (*bench.human, *(text for texts in bench.vlm.values() for text in texts))]
    pieces = pl.Series([" ".join(words[at : at + 6]) for words in pool for at in range(0, len(words) - 5, 3)])
    with tempfile.TemporaryDirectory() as temporary:
        folder = bench.options.set_folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for rows in bench.options.set_rows:
            files = [set_file(pieces, bench.options.seed, folder, number) for number in range(-(-rows // FILE_ROWS))]
            for name in measured:
                measured[name][str(rows)] = in_another_process(score_a_set, name, files, rows)
    first, last = str(bench.options.set_rows[0]), str(bench.options.set_rows[-1])
    answer: dict[str, Any] = {"set_level": measured}
    if first != last:
        spent = {rows: sum(of[rows]["cpu_us_per_row"] for of in measured.values()) for rows in (first, last)}
        answer["set_time_per_row_last_over_first"] = round(spent[last] / spent[first], 3)
        growth = [of[last]["peak_rss_mb"] / of[first]["peak_rss_mb"] for of in measured.values()]
        answer["set_peak_rss_growth"] = round(max(growth), 3)
    return answer


def set_file(pieces: pl.Series, seed: int, folder: Path, number: int) -> Path:
    """A Parquet file of captions of 24 words: four `pieces`, so that as few are alike in a large set as in a small one;
    but a hundredth of them says what another of the file says, and a twentieth the same but for its last word."""
    path = folder / f"{number:05}.parquet"
    if path.exists():
        return path
    rng = np.random.default_rng([seed, number])
    drawn = [pieces.gather(rng.integers(len(pieces), size=FILE_ROWS)) for _ in range(4)]
    texts = pl.select(pl.concat_str(drawn, separator=" ")).to_series()
    source = rng.integers(FILE_ROWS, size=FILE_ROWS)
    kind = rng.random(FILE_ROWS)
    alike = texts.gather(source)
    near = alike.str.replace(r"[^ ]+$", "whatever")
    pl.DataFrame(
        {
            "text": pl.select(
                pl.when(kind < 0.01).then(alike).when(kind < 0.06).then(near).otherwise(texts)
            ).to_series(),
            "image_key": [f"{number:05}{row:07}" for row in range(FILE_ROWS)],
        }
    ).with_columns(
        view=pl.lit("self"),
        candidate=pl.lit(0, pl.Int64),
        inputs=pl.col("text").str.split(" ").list.head(4).list.join(" "),
    ).write_parquet(path)
    return path


def score_a_set(name: str, files: list[Path], rows: int) -> dict[str, float]:
    """Scores the first rows of these files in batches; what it took."""

    def batches() -> Iterator[pl.DataFrame]:
        left = rows
        for file in files:
            frame = pl.read_parquet(file).head(left)
            left -= frame.height
            yield from frame.iter_slices(8192)

    one = build(name, {})
    assert isinstance(one, SetFilter)
    with tempfile.TemporaryDirectory() as scratch:
        started, busy = time.perf_counter(), time.process_time()
        scored = sum(scores.height for scores in one.score_set(batches, Path(scratch)))
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
    assert scored == rows
    return {
        "us_per_row": round(seconds / rows * 1e6, 2),
        "cpu_us_per_row": round(busy / rows * 1e6, 2),
        "peak_rss_mb": peak_rss_mb(),
    }


def peak_rss_mb() -> int:
    """Of this process, since it began: the kernel's count for its children begins at what their parent had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def in_another_process(do: Callable[..., Any], *arguments: Any) -> Any:
    """What `do` returns there, where no memory but its own is counted."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(do, *arguments).result()


def peers(bench: Bench) -> dict[str, Any]:
    """The rules that datatrove and data-juicer have too, side by side."""
    if bench.options.peers is None:
        return {}
    frame = of_length(bench, 24)[: bench.options.peer_rows]
    model = bench.filters["language"].path()  # type: ignore[attr-defined]
    ours = {}
    for name in PEER_RULES:
        one = bench.filters.get(name) or build(name, {})
        score(frame[:8192], one)
        ours[name] = timed(frame, one)[0]
    seconds = {"ours": ours}
    with tempfile.TemporaryDirectory() as folder:
        captions = Path(folder) / "captions.jsonl"
        frame.select("text").write_ndjson(captions)
        for peer in ("datatrove", "data_juicer"):
            command = [bench.options.peers, Path(__file__).with_name("peers.py"), peer, captions, model]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            seconds[peer] = json.loads(printed.splitlines()[-1])
    spent = {peer: sum(took.values()) for peer, took in seconds.items()}
    return {
        "peer_rows": frame.height,
        "peers": {peer: {rule: round(took, 2) for rule, took in of.items()} for peer, of in seconds.items()},
        "over_datatrove": round(spent["datatrove"] / spent["ours"], 1),
        "over_data_juicer": round(spent["data_juicer"] / spent["ours"], 1),
    }


def scale(bench: Bench) -> dict[str, Any]:
    """`factory filter` as a whole at 1 and at 10 million captions: see bench/filter_scale.py, which does it on all cores."""
    if not bench.options.data:
        return {}
    command = python_module("bench.filter_scale", "--data", bench.options.data, "--json")
    everywhere = environment(POLARS_MAX_THREADS=str(os.cpu_count() or 1))
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        done = subprocess.run(command, env=everywhere, stdout=subprocess.PIPE, text=True, check=True)
    finally:
        one_core()
    return {**json.loads(done.stdout.splitlines()[-1])}


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
    from filters.images.pixels import decode

    def drawn_jpeg(index: int) -> bytes:
        buffer = io.BytesIO()
        decode(source_row(bench.options.seed, index).image).resize((640, 480)).save(buffer, "JPEG", quality=90)
        return buffer.getvalue()

    names = ("image_size", "image_aspect", "image_integrity", "blank_image", "image_hash")
    answer: dict[str, Any] = {"image_per_s": {}}
    for at, name in enumerate(names):  # other images for each, since what was found out about an image is kept
        frame = pl.DataFrame({"image": [drawn_jpeg(1000 * at + index) for index in range(bench.options.images)]})
        answer["image_per_s"][name] = round(frame.height / timed(frame, build(name, {}))[0])
    frame = pl.DataFrame({"image": [drawn_jpeg(9000 + index) for index in range(bench.options.images)]})
    answer["image_per_s_all"] = round(frame.height / sum(timed(frame, build(name, {}))[0] for name in names))
    few = frame.head(max(1, bench.options.images // 20)).with_columns(text=pl.lit('A sign says "stop".'))
    reader = build("ocr_consistency", {})
    score(few.head(1), reader)
    answer["image_per_s"]["ocr_consistency"] = round(few.height / timed(few, reader)[0], 2)
    return answer


MEASUREMENTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "text_speed": text_speed,
    "text_flags": text_flags,
    "set_level": set_level,
    "peers": peers,
    "calibration": calibration,
    "scale": scale,
    "alignment": alignment,
    "image_speed": image_speed,
}

if __name__ == "__main__":
    main()
