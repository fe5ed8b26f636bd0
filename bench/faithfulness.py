"""How well filters tell the captioner's right sentences from its wrong ones, on unseen scenes of the demo world.

    python bench/faithfulness.py [--scenes 2000] [--judge demo:judge] [--json]

The captioner (demo:small, eight candidates at temperature 0.7) describes the scenes; every sentence is compared with the
truth. Stacks and the calibrated threshold are fitted on one half of the images, and everything is measured on the other.

Keys: auroc (by filter, with its interval; `NAME@judge` by the independent judge), auroc_logprob (mean token log-probability
of a sentence), auroc_self_stacked (all signals of the captioner itself), auroc_stacked (and of the judge), precision_before,
precision_after, kept (sentences, with the threshold that is promised to keep a precision of 0.95).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this script's own folder would hide the package of its name

from factory.evaluating import auroc_of, with_truth  # noqa: E402
from factory.plan import reopen  # noqa: E402
from factory.run import find_run  # noqa: E402
from factory.sentence_table import sentence_table  # noqa: E402
from filters import calibrate  # noqa: E402
from filters.stacking import fit_stack  # noqa: E402

SEED = 41
OWN = ("token_confidence", "vqa_faithfulness", "caption_likelihood", "visual_pmi", "consistency")
ASKED = ("vqa_faithfulness", "caption_likelihood", "visual_pmi")
TARGET = 0.95


def main() -> None:
    """Run everything; print its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument(
        "--judge", help="the independent judge: demo:NAME or a directory; without one its numbers are left out"
    )
    parser.add_argument("--folder", type=Path, help="where the runs stay; a temporary folder unless given")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        answer = measured(options.folder or Path(temporary), options)
    for name, value in answer.items():
        print(f"{name}: {value}")
    if options.json:
        print(json.dumps(answer))


def measured(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All numbers, from runs in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    table = table_of(folder, "own", options, [*OWN])
    names, judged = list(OWN), []
    if options.judge:
        theirs = table_of(folder, "own", options, [{name: {"judge": options.judge}} for name in ASKED])
        keys = ["image_key", "view", "candidate", "start"]
        renamed = theirs.select(*keys, *(pl.col(name).alias(f"{name}@judge") for name in ASKED))
        table = table.join(renamed, on=keys, how="left")
        judged = [f"{name}@judge" for name in ASKED]
    table = table.with_columns(logits(name) for name in [*names, *judged])
    fit, test = halves(table)
    answer: dict[str, Any] = {
        "sentences": test.height,
        "precision_before": round(float(test["right"].mean()), 4),  # type: ignore[arg-type]
        "auroc": {name: auroc_of(test.drop_nulls(name), name).as_json() for name in [*names, *judged]},
    }
    answer["auroc_logprob"] = answer["auroc"]["token_confidence"]["value"]
    stacks = {"auroc_self_stacked": names} | ({"auroc_stacked": [*names, *judged]} if judged else {})
    for key, used in stacks.items():
        features = [column for name in used for column in (name, f"{name}_logit")]
        stack = fit_stack(fit, features, fit["right"].to_numpy(), "logistic")
        test = test.with_columns(stack.expression().alias(key))
        fit = fit.with_columns(stack.expression().alias(key))
        answer[key] = auroc_of(test, key).as_json()
    answer |= promised(fit, test, list(stacks)[-1])
    return answer


def table_of(folder: Path, name: str, options: argparse.Namespace, filters: list[Any]) -> pl.DataFrame:
    """The sentences of a run with these filters, and whether each is right."""
    recipe = {
        "name": name,
        "seed": 17,
        "source": {"kind": "demo", "scenes": options.scenes, "seed": SEED},
        "views": [
            {
                "name": "detailed",
                "model": "demo:small",
                "prompts": [{"text": "Describe the image in details."}],
                "sampling": {"temperature": 0.7, "max_tokens": 128, "n": options.candidates},
            }
        ],
        "filters": filters,
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    command = [sys.executable, "-m", "factory", "run", str(file), "--out", str(folder / name)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return with_truth(sentence_table(reopen(find_run(str(folder / name)))), SEED)


def logits(name: str) -> pl.Expr:
    """A score's logit: what is added up in a stack."""
    score = pl.col(name).clip(1e-4, 1 - 1e-4)
    return ((score / (1 - score)).log() / 20 + 0.5).clip(0, 1).alias(f"{name}_logit")


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


if __name__ == "__main__":
    main()
