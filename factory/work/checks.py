"""What can be known to be wrong before anything starts. Each check raises RecipeError or RunError with what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import filters
from factory.errors import RecipeError, RunError
from factory.models.resolve import filter_params
from factory.recipe import CaptionsSource, Recipe, did_you_mean
from factory.runs.run import RECIPE_LOCK, Run
from factory.work.fingerprint import source_identity
from factory.work.scorer import Scorer
from filters.asking.questions import VlmFilter, When
from filters.calibration.calibration import Calibration


def check_owner(run: Run, recipe: Recipe) -> None:
    """A run directory belongs to one recipe name and one source. Raises RunError for another's."""
    lock = run.read_json(RECIPE_LOCK)
    if lock is None:
        return
    if lock["name"] != recipe.name:
        raise RunError(
            f"{run.url}: holds the run of recipe '{lock['name']}', not '{recipe.name}'; choose another --out, or --fresh to set it aside"
        )
    if lock["source"] != source_identity(recipe):
        raise RunError(
            f"{run.url}: holds captions of another source ({lock['source']}); choose another --out or recipe name, "
            "or --fresh to set it aside"
        )


def check_images(recipe: Recipe) -> None:
    """No filter looks at images that the source does not have."""
    if not isinstance(recipe.source, CaptionsSource):
        return
    wanting = [
        use.name
        for use in recipe.filters
        if {"image", "answers"} & {*filters.build(use.name, filter_params(use.params)).needs}
    ]
    if wanting:
        raise RecipeError([f"filters: {', '.join(wanting)} look at the image, and a source of captions has none"])


def check_conditions(scorers: Sequence[Scorer]) -> None:
    """A condition is about a filter that has its scores by then: one that asks nobody, or comes before."""
    problems = []
    for place, scorer in enumerate(scorers):
        if not isinstance(scorer.filter, VlmFilter) or scorer.filter.when is None:
            continue
        known = [one.name for at, one in enumerate(scorers) if at < place or not isinstance(one.filter, VlmFilter)]
        about = When.parse(scorer.filter.when).filter
        if about not in known:
            problems.append(
                f"filters.{scorer.name}.when: no filter '{about}' has scores by then{did_you_mean(about, known, every=True)}; "
                "name it before this one"
            )
    if problems:
        raise RecipeError(problems)


def check_cut(recipe: Recipe, scorers: Sequence[Scorer], calibrations: Mapping[str, Calibration]) -> None:
    """Sentences are cut by what judges sentences."""
    if recipe.repair is None or not recipe.repair.cut:
        return
    by = recipe.repair.by
    if by in calibrations and calibrations[by].unit != "sentence":
        raise RecipeError(
            [f"repair.cut: {by} is about whole captions; calibrate sentences (labels with `start`, or --truth demo)"]
        )
    able = [one.name for one in scorers if one.filter.judges_sentences]
    if by not in calibrations and by not in able:
        raise RecipeError(
            [
                f"repair.cut: {by} does not judge sentences by themselves; choose one that does ({', '.join(able) or 'none here'})"
            ]
        )
