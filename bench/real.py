"""Shares of errors of filters on captions that people and models wrote, from data that you give.

    python -m bench.real --data DIR [--parser MODEL] [--json]

bench/README.md says which files DIR may hold; a missing one is named and its keys are left out. Keys: repetition_false_positives
(human captions below the threshold), repetition_recall (loops below it), refusal_recall, refusal_precision, language_precision
(of captions dropped as not English, those that are not), shape_false_positives, boilerplate_recall, pii_recall, reference_hat
(AUROC), reference_foil (AUROC), reference_foil_pairs (pairs in which the right caption scores higher), claims_wrong (claims that
people call wrong, of those still made).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import polars as pl

from bench.answer import print_answer
from factory.filtering import DEFAULTS
from filters import build
from filters.calibration.roc import auroc
from filters.claims.by_parser import claims_by_parser
from filters.claims.by_rules import claims_by_rules

Rows = list[dict[str, Any]]
BELOW = {name: least for name, least in DEFAULTS.items() if least is not None}
"""Scores below which a caption counts as dropped, `factory filter`'s own; `--threshold NAME=VALUE` changes one."""


def main() -> None:
    """Measure what the data allows; print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the files of bench/README.md")
    parser.add_argument("--parser", help="a model of spaCy, to measure claims by parser; unset: by rules")
    parser.add_argument("--threshold", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.data.is_dir():
        parser.error(f"--data {options.data}: there is no such folder")
    below = BELOW | {name: float(value) for name, _, value in (one.partition("=") for one in options.threshold)}
    print_answer(shares(options.data, below, options.parser), options.json)


def shares(folder: Path, below: dict[str, float], parser: str | None) -> dict[str, Any]:
    """The keys that the files of a folder allow, and `missing`, the files that are not there."""
    measured: dict[str, Callable[[Rows], dict[str, Any]]] = {
        "human_captions.jsonl": lambda rows: {
            "repetition_false_positives": dropped(rows, "repetition", below),
            "shape_false_positives": dropped(rows, "shape", below),
        },
        "loops.jsonl": lambda rows: {"repetition_recall": dropped(rows, "repetition", below)},
        "boilerplate.jsonl": lambda rows: {"boilerplate_recall": dropped(rows, "boilerplate", below)},
        "pii.jsonl": lambda rows: {"pii_recall": dropped(rows, "pii", below)},
        "refusals.jsonl": lambda rows: refusals(rows, below),
        "languages.jsonl": lambda rows: languages(rows, below),
        "hat.json": hat,
        "foil.json": foil,
        "claims.jsonl": lambda rows: wrong_claims(rows, parser),
    }
    answer: dict[str, Any] = {}
    missing = []
    for name, measure in measured.items():
        if (folder / name).is_file():
            answer |= measure(read(folder / name))
        else:
            missing.append(name)
    return answer | {"missing": missing}


def read(file: Path) -> Rows:
    """The objects of a JSON list or of JSON lines."""
    text = file.read_text(encoding="utf-8-sig")
    return (
        list(json.loads(text))
        if file.suffix == ".json"
        else [json.loads(one) for one in text.splitlines() if one.strip()]
    )


def scores(texts: Sequence[str], name: str) -> list[float | None]:
    """What a filter gives them at its defaults."""
    return build(name, {}).score(pl.DataFrame({"text": texts}, schema={"text": pl.String}))["score"].to_list()


def dropped(rows: Rows, name: str, below: dict[str, float]) -> float | None:
    """The share of captions that a filter drops."""
    found = [score is not None and score < below[name] for score in scores([row["text"] for row in rows], name)]
    return share(sum(found), len(found))


def refusals(rows: Rows, below: dict[str, float]) -> dict[str, Any]:
    """Of answers labelled 2_full_refusal and 1_full_compliance; others are neither."""
    rows = [row for row in rows if row["label"] in ("2_full_refusal", "1_full_compliance")]
    found = [
        score is not None and score < below["refusal"] for score in scores([row["text"] for row in rows], "refusal")
    ]
    real = [row["label"] == "2_full_refusal" for row in rows]
    both = sum(one and other for one, other in zip(found, real, strict=True))
    return {"refusal_recall": share(both, sum(real)), "refusal_precision": share(both, sum(found))}


def languages(rows: Rows, below: dict[str, float]) -> dict[str, Any]:
    """Of captions with the code of their `language`, asked for English."""
    found = [
        score is not None and score < below["language"] for score in scores([row["text"] for row in rows], "language")
    ]
    both = sum(one and row["language"] != "en" for one, row in zip(found, rows, strict=True))
    return {"language_precision": share(both, sum(found))}


def matches(texts: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """What `reference_match` gives them; 0.5 where it gives nothing."""
    frame = pl.DataFrame({"text": texts, "references": [list(some) for some in references]})
    return [0.5 if one is None else one for one in build("reference_match", {}).score(frame)["score"].to_list()]


def hat(rows: Rows) -> dict[str, Any]:
    """Captions that people labelled (ALOHa's HAT): `caption`, `references`, `contains_hallucination`."""
    found = matches([row["caption"] for row in rows], [row["references"] for row in rows])
    return {"reference_hat": area(found, [not row["contains_hallucination"] for row in rows])}


def foil(rows: Rows) -> dict[str, Any]:
    """Captions and the same with one word swapped (nocaps-FOIL): `baseline`, `foil`, `references`."""
    references = [row["references"] for row in rows]
    right, wrong = (matches([row[name] for row in rows], references) for name in ("baseline", "foil"))
    higher = sum(one > other for one, other in zip(right, wrong, strict=True))
    labels = [True] * len(right) + [False] * len(wrong)
    return {"reference_foil": area([*right, *wrong], labels), "reference_foil_pairs": share(higher, len(right))}


def wrong_claims(rows: Rows, parser: str | None) -> dict[str, Any]:
    """Captions with the statements that people read, `claims`: {statement: whether it is right}. `claims_unlabelled` says how
    many claims made today have no label; they count as neither.
    """
    right = wrong = unlabelled = 0
    for row in rows:
        claims = claims_by_rules(row["text"]) if parser is None else claims_by_parser(row["text"], parser, "--parser")
        for claim in claims:
            label = row["claims"].get(claim.statement)
            right, wrong, unlabelled = right + (label is True), wrong + (label is False), unlabelled + (label is None)
    return {
        "claims_wrong": share(wrong, right + wrong),
        "claims_labelled": right + wrong,
        "claims_unlabelled": unlabelled,
    }


def area(values: list[float], right: list[bool]) -> float | None:
    """AUROC; None where only one kind is there."""
    return round(auroc(np.array(values), np.array(right), 0.95)[0], 4) if len(set(right)) == 2 else None


def share(part: int, whole: int) -> float | None:
    """A share; None of nothing."""
    return round(part / whole, 4) if whole else None


if __name__ == "__main__":
    main()
