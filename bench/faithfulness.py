"""How well filters tell the captioner's right sentences from its wrong ones, on unseen scenes of the demo world, and what
acting on it is worth.

    python -m bench.faithfulness [--scenes 2000] [--judge demo:judge] [--json]

The captioner (demo:small, eight candidates at temperature 0.7) describes the scenes; every sentence is compared with the
truth. Stacks and the calibrated threshold are fitted on one half of the images, and everything is measured on the other.

Keys: auroc (by filter, with its interval; `NAME@judge` by the independent judge), auroc_logprob (mean token log-probability
of a sentence), auroc_self_stacked (all signals of the captioner itself), auroc_stacked (and of the judge), precision_before,
precision_after, kept (sentences, with the threshold that is promised to keep a precision of 0.95); auroc_shuffled (the same
captions beside the images of others); fused_cost, separate_cost (vqa_faithfulness by the captioner itself, as a share of
the time of captioning alone, engine starts left out); regeneration (of the captions judged unfaithful the share that is
wholly right by truth afterwards, per rung of the ladder, and after cutting).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import polars as pl
import yaml

from bench.answer import print_answer
from bench.commands import environment, factory_command
from factory.demo.scenes import draw_scene, scene_image, scene_index
from factory.evaluation.by_truth import auroc_of, with_truth
from factory.runs.run import find_run
from factory.runs.tables import CAPTIONS
from factory.scoring.sentence_table import sentence_table
from factory.work.calibrations import read_calibration
from factory.work.work import reopen
from filters import calibrate
from filters.calibration.stacking import fit_stack

SEED = 41
OWN = ("token_confidence", "vqa_faithfulness", "caption_likelihood", "visual_pmi", "consistency")
ASKED = ("vqa_faithfulness", "caption_likelihood", "visual_pmi")
TARGET = 0.95
SHUFFLED = 1000
LADDER: list[dict[str, Any]] = [
    {"temperature": 0.5, "n": 2},
    {"temperature": 0.8, "n": 4},
    {"temperature": 1.0, "n": 8},
]


def main() -> None:
    """Run everything; print its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument(
        "--judge", help="the independent judge: demo:NAME or a directory; without one its numbers are left out"
    )
    parser.add_argument("--only", choices=["auroc", "shuffled", "cost", "regeneration"], action="append")
    parser.add_argument("--cost-scenes", type=int, default=3000)
    parser.add_argument("--folder", type=Path, help="where the runs stay; a temporary folder unless given")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        parts = {"auroc": measured, "shuffled": shuffled, "cost": costs, "regeneration": regeneration}
        answer: dict[str, Any] = {}
        for name, part in parts.items():
            if name in (options.only or parts):
                answer |= part(folder, options)
    print_answer(answer, options.json)


def measured(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """AUROC by filter and of stacks, and the promised precision."""
    table = table_of(folder, "own", options, [*OWN])
    names, judged = list(OWN), []
    if options.judge:
        theirs = table_of(folder, "own", options, [{name: {"judge": options.judge}} for name in ASKED])
        keys = ["image_key", "view", "candidate", "start"]
        renamed = theirs.select(*keys, *(pl.col(name).alias(f"{name}@judge") for name in ASKED))
        table = table.join(renamed, on=keys, how="left")
        judged = [f"{name}@judge" for name in ASKED]
    fit, test = halves(table)
    answer: dict[str, Any] = {
        "sentences": test.height,
        "precision_before": round(float(test["right"].mean()), 4),  # type: ignore[arg-type]
        "auroc": {name: auroc_of(test.drop_nulls(name), name).as_json() for name in [*names, *judged]},
    }
    answer["auroc_logprob"] = answer["auroc"]["token_confidence"]
    stacks = {"auroc_self_stacked": names} | ({"auroc_stacked": [*names, *judged]} if judged else {})
    for key, used in stacks.items():
        stack = fit_stack(fit, used, fit["right"].to_numpy(), "logistic")
        test = test.with_columns(stack.expression().alias(key))
        fit = fit.with_columns(stack.expression().alias(key))
        answer[key] = auroc_of(test, key).as_json()
    answer |= promised(fit, test, list(stacks)[-1])
    return answer


def table_of(folder: Path, name: str, options: argparse.Namespace, filters: list[Any]) -> pl.DataFrame:
    """The sentences of a run with these filters, and whether each is right."""
    source = {"kind": "demo", "scenes": options.scenes, "seed": SEED}
    sampling = {"temperature": 0.7, "max_tokens": 128, "n": options.candidates}
    run_of(folder, name, source, sampling, filters=filters)
    return with_truth(sentence_table(reopen(find_run(str(folder / name)))), SEED)


def run_of(
    folder: Path, name: str, source: dict[str, Any], sampling: dict[str, Any], *more: str, **parts: Any
) -> dict[str, Any]:
    """`factory run` of a recipe with one view; its JSON."""
    view = {
        "name": "detailed",
        "model": "demo:small",
        "prompts": [{"text": "Describe the image in details."}],
        "sampling": sampling,
    }
    recipe = {"name": name, "seed": 17, "source": source, "views": [view], **parts}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return factory("run", str(file), "--out", str(folder / name), "--json", *more)


def factory(*arguments: str) -> dict[str, Any]:
    """One command's JSON, the last line it prints."""
    done = subprocess.run(factory_command(*arguments), env=environment(), check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def halves(table: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The sentences of one half of the images, and of the other."""
    first = pl.col("image_key").hash(3) % 2 == 0
    return table.filter(first), table.filter(~first)


def promised(fit: pl.DataFrame, test: pl.DataFrame, score: str) -> dict[str, Any]:
    """What is kept at the threshold that labels of one half prove, and how right it is on the other."""
    found = calibrate(fit, score, target_precision=TARGET, label="right", group="image_key")
    if found.threshold is None:
        return {"precision_after": None, "kept": 0.0}
    kept = test.filter(pl.col(score) >= found.threshold)
    return {
        "precision_after": round(float(np.mean(kept["right"].to_numpy())), 4),
        "kept": round(kept.height / test.height, 4),
        "threshold": found.threshold,
    }


# --- shuffled images -----------------------------------------------------------------------------------------------------


def shuffled(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The captions of one candidate each beside the image of another scene: what an image-based filter says then."""
    captions = find_run(str(folder / "own")).scan("captions", CAPTIONS)
    rows = captions.filter(pl.col("candidate") == 0, pl.col("text").is_not_null()).unique("image_key")
    rows = rows.select("image_key", "text").sort("image_key").head(SHUFFLED).collect()
    others = [*rows["image_key"][1:], rows["image_key"][0]]
    images = [scene_image(draw_scene(SEED, scene_index(key))) for key in others]
    file = folder / "shuffled.parquet"
    rows.with_columns(image=pl.Series(images, dtype=pl.Binary)).write_parquet(file)
    found: dict[str, Any] = {}
    for mark, judge in {"": "demo:small", "@judge": options.judge}.items():
        if judge is None:
            continue
        filters = folder / f"shuffled{mark}.yaml"
        filters.write_text(yaml.safe_dump({"filters": [{name: {"judge": judge}} for name in ASKED]}))
        run = str(folder / f"shuffled{mark}")
        columns = ("--text", "text", "--image", "image", "--id", "image_key")
        factory("filter", str(file), "--out", run, "--filters", str(filters), *columns, "--json")
        table = with_truth(sentence_table(reopen(find_run(run))), SEED)
        found |= {f"{name}{mark}": auroc_of(table.drop_nulls(name), name).as_json() for name in ASKED}
    return {"auroc_shuffled": found}


# --- costs ----------------------------------------------------------------------------------------------------------------


def costs(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds an image of captioning alone, with the questions right after, and of asking in a pass of its own."""
    alone, fused, separate = [], [], []
    few, many = 64, options.cost_scenes
    asked: dict[str, Any] = {"filters": ["vqa_faithfulness"]}
    for repeat in range(2):
        seconds = {}
        for scenes in (few, many):
            source = {"kind": "demo", "scenes": scenes, "seed": SEED + 1}
            name = f"cost-{repeat}-{scenes}"
            sampling = {"max_tokens": 128}
            plain = run_of(folder, name, source, sampling)["this_time"]["seconds"]["caption"]
            later = run_of(folder, name, source, sampling, **asked)["this_time"]["seconds"]["score"]
            both = run_of(folder, f"{name}-fused", source, sampling, **asked)["this_time"]["seconds"]["caption"]
            seconds[scenes] = (plain, both, later)
        slopes = [(seconds[many][part] - seconds[few][part]) / (many - few) for part in range(3)]
        for kept, slope in zip((alone, fused, separate), slopes, strict=True):
            kept.append(slope)
    base = statistics.median(alone)
    return {
        "seconds_per_image": {
            "alone": base,
            "fused": statistics.median(fused),
            "separate": statistics.median(separate),
        },
        "fused_cost": round(statistics.median(fused) / base - 1, 3),
        "separate_cost": round(statistics.median(separate) / base, 3),
    }


# --- regeneration ---------------------------------------------------------------------------------------------------------


def regeneration(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Repair by a stack that is calibrated on other scenes, and what the truth says of it."""
    judge = {"judge": options.judge} if options.judge else {}
    filters = ["token_confidence", {"vqa_faithfulness": judge}, {"caption_likelihood": judge}]
    sampling = {"temperature": 0.7, "max_tokens": 128}
    scenes = options.scenes // 2
    labelled = {"kind": "demo", "scenes": scenes, "seed": SEED + 2}
    run_of(folder, "labelled", labelled, sampling, filters=filters)
    calibrated = factory(
        "calibrate", str(folder / "labelled"), "--truth", "demo", "--stack", "--target-precision", "0.9", "--json"
    )  # fmt: skip
    (folder / "repaired" / "calibrations").mkdir(parents=True, exist_ok=True)
    name = Path(calibrated["file"]).name
    shutil.copy(calibrated["file"], folder / "repaired" / "calibrations" / name)
    reference = calibrated["reference"]
    repair = {"by": reference, "regenerate": LADDER, "cut": True}
    source = {"kind": "demo", "scenes": scenes, "seed": SEED + 3}
    parts = {"filters": filters, "repair": repair, "select": {"best_of": reference}}
    counts = run_of(folder, "repaired", source, sampling, **parts)["repair"]
    table = with_truth(sentence_table(reopen(find_run(str(folder / "repaired")))), SEED + 3)
    stack = read_calibration(find_run(str(folder / "repaired")), reference)
    scored = table.with_columns(stack.score().alias("stack"))
    captions = scored.group_by("image_key", "candidate").agg(
        pl.col("right").all(), pl.col("stack").min(), pl.col("rung").first(), pl.col("cut_from").first()
    )
    first = captions.filter(pl.col("rung").is_null(), pl.col("cut_from").is_null())
    left = first.filter(pl.col("stack") < counts["least"])
    found: dict[str, Any] = {
        "judged": first.height,
        "unfaithful": left.height,
        "right_of_them": share(left),
        "right_of_the_others": share(first.join(left, on="image_key", how="anti")),
        "rungs": [],
    }
    for rung in range(1, len(LADDER) + 1):
        again = captions.filter(pl.col("rung") == rung, pl.col("cut_from").is_null())
        best = again.sort("stack", descending=True).unique("image_key", keep="first")
        mended = best.filter(pl.col("stack") >= counts["least"])
        found["rungs"].append(
            {"wanted": best.height, "faithful_by_judge": mended.height, "right_of_those": share(mended),
             "right": share(best)}
        )  # fmt: skip
    cut = captions.filter(pl.col("cut_from").is_not_null()).sort("stack", descending=True)
    best = cut.unique("image_key", keep="first")
    found["cut"] = {"images": best.height, "right": share(best)}
    kept = table.filter("kept")
    precision = {
        "before": share(table.filter(pl.col("rung").is_null(), pl.col("cut_from").is_null())),
        "after": share(kept),
    }
    return {"regeneration": found, "sentences_right": precision}


def share(rows: pl.DataFrame) -> float | None:
    """The share of the rows that is right."""
    return round(float(np.mean(rows["right"].to_numpy())), 4) if rows.height else None


if __name__ == "__main__":
    main()
