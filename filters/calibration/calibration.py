"""A calibration: a score, the threshold that keeps a promised precision, and what proves it.

`filters/calibration/calibrate.py` makes one from labelled captions; it is applied without them and without scipy:

    kept = captions.filter(calibration.score() >= calibration.threshold)
"""

from __future__ import annotations

import hashlib
import json
from typing import Final, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from filters.calibration.stacking import Stack
from filters.contract.filter import FilterError

FORMAT: Final = 1
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
ALL: Final = "all"
"""`Stratum.by` of all labelled rows together."""


class Record(BaseModel):
    """Common rules of the parts of a calibration."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(Record):
    """A share in [0, 1] with its two-sided interval at the calibration's confidence."""

    value: float
    low: float
    high: float


class Kept(Record):
    """What a threshold keeps. `keep_rate` is the share of the population; the others are of the labelled rows."""

    threshold: float = Field(ge=0, le=1, description="Rows that score at least this are kept.")
    keep_rate: float
    rows: int
    right: int
    precision: Estimate = Field(description="Right rows among the kept ones; Clopper-Pearson.")
    lower_bound: float = Field(description="One-sided Clopper-Pearson bound of the precision at the confidence.")
    recall: Estimate = Field(description="Kept rows among the right ones; Clopper-Pearson.")


class Curve(Record):
    """Points of the ROC and of precision over coverage, from the strictest threshold to 'keep all'; one list a column."""

    threshold: tuple[float, ...]
    keep_rate: tuple[float, ...]
    precision: tuple[float, ...]
    precision_low: tuple[float, ...]
    precision_high: tuple[float, ...]
    recall: tuple[float, ...]  # of the ROC: the true positive rate
    recall_low: tuple[float, ...]
    recall_high: tuple[float, ...]
    false_positive_rate: tuple[float, ...]  # kept rows among the wrong ones


class Stratum(Record):
    """What the labels of one stratum say, or (`by` = "all") those of all together."""

    by: str
    value: str
    labels: int
    right: int
    auroc: Estimate | None = Field(description="DeLong; null where all labels are right, or all wrong.")
    kept: Kept | None = Field(description="What the calibration's threshold keeps here; null where it has none.")
    own: Kept | None = Field(description="The threshold that this stratum alone would need; null where none is proven.")
    labels_needed: int | None = Field(
        description="About how many labels of it would prove the target; null where it is proven, or more do not help."
    )
    curve: Curve


class Labels(Record):
    """The labelled rows that a calibration was made from."""

    given: int
    used: int = Field(description="Rows that fit or test: given less those set aside.")
    tested: int = Field(description="Rows the threshold was tested on; the others fitted the stack.")
    set_aside: dict[str, int] = Field(description="Rows by reason: why they say nothing here.")
    fingerprint: str = Field(description="Hash of the used rows and labels, in any order.")


class Calibration(Record):
    """A score with a threshold of proven precision, and what proves it. Immutable; `id` is the hash of its content."""

    format: Literal[1] = FORMAT
    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1, description="Counted up per name; a version never changes.")
    unit: Literal["caption", "sentence"] = Field(
        "caption",
        description="What the labels and the threshold are about; a caption is as good as its least sentence.",
    )
    filter: str | None = Field(description="The filter whose score it is about; null for a stack.")
    stack: Stack | None = None
    target_precision: float = Field(gt=0, lt=1)
    confidence: float = Field(gt=0, lt=1)
    threshold: float | None = Field(description="Null where these labels do not prove the target at any threshold.")
    labels: Labels
    strata: tuple[Stratum, ...] = Field(min_length=1, description="All labels first, then each stratum.")
    filters: dict[str, str] = Field(default_factory=dict, description="Fingerprint of each filter it reads.")
    captioner: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="Per view, what made its captions: part (model, prompts, ...) -> fingerprint."
    )
    warnings: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _of_one_score(self) -> Calibration:
        if (self.filter is None) == (self.stack is None):
            raise ValueError("a calibration is about a filter or a stack")
        return self

    @property
    def id(self) -> str:
        """16 hex digits of SHA-256 over the canonical JSON of everything but name and version."""
        # Records of before had no unit: they are about captions.
        content = self.model_dump(
            mode="json", exclude={"name", "version", *(["unit"] if self.unit == "caption" else [])}
        )
        return hashlib.sha256(_canonical(content).encode()).hexdigest()[:16]

    @property
    def reads(self) -> tuple[str, ...]:
        """The filters whose scores it needs."""
        return (str(self.filter),) if self.stack is None else tuple(one.name for one in self.stack.features)

    @property
    def all(self) -> Stratum:
        """The stratum of all labelled rows."""
        return self.strata[0]

    def score(self) -> pl.Expr:
        """The calibrated score of each row of a frame with a column per filter that it reads."""
        return self.stack.expression() if self.stack is not None else pl.col(str(self.filter))

    def differences(self, captioner: dict[str, dict[str, str]]) -> list[str]:
        """In words, what of another captioner is not as it was when the labels were made; [] where all is."""
        found = []
        for view, parts in sorted(captioner.items()):
            mine = self.captioner.get(view)
            if mine is None:
                found.append(f"the view '{view}' had no labels")
                continue
            changed = [part for part in sorted({*mine, *parts}) if mine.get(part) != parts.get(part)]
            if changed:
                found.append(f"the view '{view}' has another {' and another '.join(changed)} since")
        return found

    def to_json(self) -> str:
        """The record as JSON text that `from_json` reads back; equal calibrations give equal text."""
        return json.dumps({"id": self.id, **self.model_dump(mode="json")}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Calibration:
        """Read a record. Raises FilterError where it is none, or was changed after it was made."""
        try:
            content = json.loads(text)
            stated = content.pop("id", None) if isinstance(content, dict) else None
            found = cls.model_validate(content)
        except (ValueError, ValidationError) as error:
            first = str(error).partition("\n")[0]
            raise FilterError(f"this is no calibration of this version of the factory ({first})") from None
        if found.id != stated:
            raise FilterError("this calibration was changed after it was made; calibrate again instead of editing it")
        return found


def _canonical(content: object) -> str:
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
