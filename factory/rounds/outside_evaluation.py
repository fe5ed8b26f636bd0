"""Another evaluation: a command of the user's (lmms-eval, say) that writes numbers about a model as JSON."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from factory.errors import TrainingError
from factory.rounds.loop_file import Outside
from factory.rounds.outside_trainer import last_lines, run_words
from factory.work.fingerprint import fingerprint

FIGURES: Final = "figures.json"
LOG: Final = "command.log"
MOST_FIGURES: Final = 2000
MOST_BYTES: Final = 50_000_000
"""Of one file of results: those with a sample a line can be large, and are not what is looked for."""


def evaluate_outside(
    name: str, outside: Outside, model: str, identity: str, home: Path, say: Callable[[str], None]
) -> Mapping[str, float]:
    """The numbers that a command finds about a model; run once, and read again where it was.

    Args:
        name: what the loop file calls it.
        outside: the command, and which of the files that it leaves hold its numbers.
        model: directory or Hub id, put in for {model}.
        identity: of the model's content.
        home: where its results are kept; {to} is a directory below.

    Returns:
        Every number in the JSON files it left, by its path: "results.pope.accuracy,none". Finite ones alone.

    Raises:
        TrainingError: it failed, left no such file, one that is no JSON, or no number; with the last lines of its log.
    """
    asked = fingerprint("outside", [identity, outside.model_dump(mode="json")])
    folder = home / f"outside-{name}-{asked[:8]}"
    kept = folder / FIGURES
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    to, log = folder / "results", folder / LOG
    shutil.rmtree(to, ignore_errors=True)  # of a start that was cut off
    to.mkdir(parents=True)
    run_words(outside.command, {"model": model, "to": str(to)}, log, f"evaluation '{name}'", say)
    found: dict[str, float] = {}
    files = sorted(file for file in to.glob(outside.results) if file.is_file() and file.stat().st_size <= MOST_BYTES)
    for file in files:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise TrainingError(
                f"evaluate.outside.{name}: {file} is no JSON ({error}); set `results` to the right files"
            ) from None
        found |= dict(_numbers(content))
    if not found:
        raise TrainingError(
            f"evaluate.outside.{name}: the command ended with exit code 0 and left no number in {to}/{outside.results}; it has to "
            f"write JSON below {{to}}. The last lines of {log}:\n{last_lines(log)}"
        )
    if len(found) > MOST_FIGURES:
        raise TrainingError(
            f"evaluate.outside.{name}: {len(found):,} numbers in {to}/{outside.results}, more than {MOST_FIGURES:,}; set `results` to "
            "the file of the totals"
        )
    building = kept.with_suffix(".new")
    building.write_text(json.dumps(found, sort_keys=True))
    building.replace(kept)
    return found


def _numbers(content: Any, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _numbers(value, f"{path}.{key}" if path else str(key))
    elif isinstance(content, int | float) and not isinstance(content, bool) and math.isfinite(content):
        yield path, content
