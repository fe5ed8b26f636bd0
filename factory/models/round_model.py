"""`round:DIR#N` as a model: what round N of a loop trained, by the loop's ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from factory.errors import RecipeError

LEDGER: Final = "rounds.json"
"""The file of a loop's directory that has an entry for every round."""


def round_model(name: str) -> Path:
    """The checkpoint of a model of the form round:DIR#N.

    Raises:
        RecipeError: no loop there, or no such round.
    """
    place, _, number = name.removeprefix("round:").rpartition("#")
    if not place or not number.isdecimal():
        raise RecipeError([f"model: {name}: write round:DIR#N, with the directory of a loop and the number of a round"])
    file = Path(place).expanduser() / LEDGER
    try:
        rounds = json.loads(file.read_text())["rounds"]
        models = {entry["round"]: entry["model"] for entry in rounds if entry["model"] is not None}
    except FileNotFoundError:
        raise RecipeError([f"model: {name}: no loop there (no {file})"]) from None
    except (ValueError, KeyError, TypeError):
        raise RecipeError([f"model: {name}: {file} is damaged"]) from None
    if int(number) not in models:
        raise RecipeError(
            [f"model: {name}: that round has no model; the rounds {', '.join(map(str, models))} have one"]
        )
    return Path(models[int(number)])
