"""What every part of a recipe is: a frozen pydantic model without unknown keys; names, references to calibrations."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic._internal._model_construction import (
    ModelMetaclass,
)  # what SQLModel derives from, too; nothing public is there

from factory.errors import RecipeError
from factory.recipe.problems import problems_of
from factory.recipe.yaml_text import RecipeText

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
TEMPLATE_FIELD = re.compile(r"\{([A-Za-z0-9][A-Za-z0-9._-]*)\}")
PLACE = re.compile(
    r"\{\{[A-Za-z0-9][A-Za-z0-9._-]*(?:\|[^{}]*)?\}\}|\{(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\|(?P<instead>[^{}]*))?\}"
)
"""Where a prompt has something put in: {original}, {ocr}, {ocr|no words}. No `name`: braces that the user doubled to keep them."""
SEMVER_PATTERN = r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$"
REPOSITORY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*$"
ORIGINAL = "original"
"""The view of the source's own texts."""
CALIBRATION = "calibration:"
"""Starts a reference to a calibration of the run: calibration:NAME-vN."""
CALIBRATION_PATTERN = re.compile(r"calibration:[A-Za-z0-9][A-Za-z0-9._-]*-v[1-9]\d*")
STACK = "stack"
"""Stands for the score of the stack that a calibration holds, where `require` names its threshold."""


class PartType(ModelMetaclass):
    """The type of parts: one that is made in Python has the errors of one that is read from a file."""

    def __call__(cls, *args: Any, **values: Any) -> Any:
        """A part of these values. Raises RecipeError with all problems at once."""
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            text = RecipeText(cls.__name__, values)
            raise RecipeError(problems_of(text, error.errors(), cls)) from None  # type: ignore[arg-type]


class Part(BaseModel, metaclass=PartType):
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
