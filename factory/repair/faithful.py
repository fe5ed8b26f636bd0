"""Which captions, and which of their sentences, are faithful: by one filter, or by a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from factory.runs.tables import CAPTION_KEY
from factory.scoring.sentence_table import sentences_of_part
from factory.work.calibrations import load_calibrations
from factory.work.plan import Plan
from filters.calibration.calibration import Calibration

FAITHFUL = "_faithful"
"""The column that holds the score of a sentence."""


@dataclass(frozen=True)
class Judgement:
    """A caption is faithful when its score in the column `name` is at least `least`."""

    name: str
    least: float
    calibration: Calibration | None

    @classmethod
    def of(cls, plan: Plan) -> Judgement:
        """That of the recipe's `repair`."""
        settings = plan.recipe.repair
        assert settings is not None
        found = load_calibrations(plan.run, plan.recipe, {one.name: one.identity for one in plan.scorers})
        calibration = found.get(settings.by)
        least = settings.least if calibration is None else calibration.threshold
        assert least is not None
        return cls(settings.by, least, calibration)

    @property
    def reads(self) -> tuple[str, ...]:
        """The filters whose scores it needs."""
        return (self.name,) if self.calibration is None else self.calibration.reads

    @property
    def calibrations(self) -> Mapping[str, Calibration]:
        """As selection takes them."""
        return {} if self.calibration is None else {self.name: self.calibration}

    def sentences(self, plan: Plan, part: str, captions: pl.DataFrame) -> pl.DataFrame:
        """The sentences of some captions of a part, with their scores in the column FAITHFUL."""
        table = sentences_of_part(plan, part, captions, self.reads)
        score = pl.col(self.name) if self.calibration is None else self.calibration.score()
        return table.with_columns(score.alias(FAITHFUL))


def least_by_caption(
    plan: Plan, part: str, captions: pl.DataFrame, reference: str, calibration: Calibration
) -> pl.Series:
    """The score of each caption by a calibration of sentences: that of its least sentence; null where it has none."""
    table = sentences_of_part(plan, part, captions, calibration.reads).with_columns(
        calibration.score().alias(reference)
    )
    worst = table.group_by(*CAPTION_KEY, "fingerprint").agg(
        pl.when(pl.col(reference).is_null().any()).then(None).otherwise(pl.col(reference).min()).alias(reference)
    )
    return captions.join(worst, on=[*CAPTION_KEY, "fingerprint"], how="left", maintain_order="left")[reference]
