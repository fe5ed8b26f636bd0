"""What every part of a recipe is: a frozen pydantic model without unknown keys; names, references to calibrations, hints."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
TEMPLATE_FIELD = re.compile(r"\{([A-Za-z0-9][A-Za-z0-9._-]*)\}")
SEMVER_PATTERN = r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$"
ORIGINAL = "original"
"""The view of the source's own texts."""
CALIBRATION = "calibration:"
"""Starts a reference to a calibration of the run: calibration:NAME-vN."""
CALIBRATION_PATTERN = re.compile(r"calibration:[A-Za-z0-9][A-Za-z0-9._-]*-v[1-9]\d*")
STACK = "stack"
"""Stands for the score of the stack that a calibration holds, where `require` names its threshold."""


class Part(BaseModel):
    """Common rules of every recipe part: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def is_reference(value: Any) -> bool:
    """Whether a value names a calibration."""
    return isinstance(value, str) and CALIBRATION_PATTERN.fullmatch(value) is not None


def least_score(name: str, value: Any) -> float | str:
    """A score in [0, 1], or the threshold of a calibration."""
    if is_reference(value):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name}: the least score is a number, or {CALIBRATION}NAME-vN; got {value!r}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: scores are between 0 and 1, got {value}")
    return float(value)


LeastInFile = Annotated[float, Field(ge=0, le=1)] | Annotated[str, Field(pattern=f"^{CALIBRATION_PATTERN.pattern}$")]


def did_you_mean(word: str, known: list[str] | tuple[str, ...], every: bool = False) -> str:
    """'; did you mean ...?' for a near miss; with `every`, otherwise the whole list of what is known."""
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(known)}" if every and known else ""
