"""Which captions, and which of their sentences, are faithful: by one filter, or by a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from factory.scoring.sentence_table import sentences_of_part
from factory.work.work import Work
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
    def of(cls, work: Work) -> Judgement:
        """That of the recipe's `repair`."""
        settings = work.recipe.repair
        assert settings is not None
        calibration = work.calibrations.get(settings.by)
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

    def sentences(self, work: Work, part: str, captions: pl.DataFrame) -> pl.DataFrame:
        """The sentences of some captions of a part, with their scores in the column FAITHFUL."""
        table = sentences_of_part(work, part, captions, self.reads)
        score = pl.col(self.name) if self.calibration is None else self.calibration.score()
        return table.with_columns(score.alias(FAITHFUL))
