"""Errors of filters on data that is given."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOG = ["A brown dog runs on the grass.", "A dog is running across a lawn."]


def answer(folder: Path) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "bench" / "real.py"), "--data", str(folder), "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_what_is_given_is_measured_and_what_is_not_is_named(tmp_path: Path) -> None:
    lines = {
        "human_captions.jsonl": [{"text": "A brown dog runs across a wide green lawn beside a fence."}],
        "refusals.jsonl": [
            {"text": "I'm sorry, but I can't help with that.", "label": "2_full_refusal"},
            {"text": "A dog runs on the grass.", "label": "1_full_compliance"},
        ],
        "claims.jsonl": [{"text": "A red car.", "claims": {"There is a car.": True, "There is a red car.": False}}],
    }
    for name, rows in lines.items():
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
    foil = [{"baseline": "A dog runs.", "foil": "A cat runs.", "references": DOG}]
    (tmp_path / "foil.json").write_text(json.dumps(foil))

    found = answer(tmp_path)

    assert found["repetition_false_positives"] == 0.0
    assert (found["refusal_recall"], found["refusal_precision"]) == (1.0, 1.0)
    assert (found["reference_foil"], found["reference_foil_pairs"]) == (1.0, 1.0)
    assert found["claims_wrong"] == 0.5
    assert "hat.json" in found["missing"]
    assert "reference_hat" not in found
