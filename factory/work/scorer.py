"""A filter of a recipe with what identifies its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import filters
from factory.errors import RecipeError
from factory.models.resolve import filter_params
from factory.recipe import Recipe
from factory.runs import tables
from factory.work.fingerprint import filter_fingerprint, fingerprint
from factory.work.judges import Judge, judges_of
from factory.work.views import ReadyView
from filters.asking.questions import VlmFilter


@dataclass(frozen=True)
class Scorer:
    """A filter of the recipe with its fingerprint; for a filter of whole sets, of the captions that it sees too."""

    filter: filters.Filter | filters.SetFilter
    fingerprint: str
    alone: str  # fingerprint of the filter alone
    judges: dict[str, Judge] = field(default_factory=dict)  # of a filter that asks: by view

    @property
    def name(self) -> str:
        """The filter's name, which is also its column."""
        return self.filter.name

    @property
    def identity(self) -> str:
        """What a calibration of its scores is bound to: the fingerprint, but for the captions that a set filter sees."""
        return self.alone if isinstance(self.filter, filters.SetFilter) else self.fingerprint


def scorer_of(name: str, params: dict[str, Any], recipe: Recipe, views: Sequence[ReadyView]) -> Scorer:
    """A filter of the recipe, built. Raises RecipeError for a column or judge that is not there."""
    built = filters.build(name, filter_params(params))
    given = {*tables.CAPTIONS, "image", "answers"}
    missing = [column for column in built.needs if column not in given]
    if missing:
        raise RecipeError([f"filters.{name}: needs the column {', '.join(missing)}, which captions do not have"])
    alone = filter_fingerprint(built)
    if not isinstance(built, VlmFilter):
        return Scorer(built, alone, alone)
    judges = judges_of(built, recipe, views)
    fingerprints = {view: judge.fingerprint for view, judge in judges.items()}
    return Scorer(built, fingerprint("asked", [alone, fingerprints]), alone, judges)
