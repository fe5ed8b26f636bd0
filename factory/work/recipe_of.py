"""The recipe of a run, read from the run itself."""

from __future__ import annotations

from factory.errors import RecipeError
from factory.recipe import Recipe, parse_recipe
from factory.recipe.loading import with_overrides
from factory.recipe.yaml_text import parse_yaml
from factory.runs.run import RECIPE, Run


def recipe_of(run: Run, overrides: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> Recipe:
    """The recipe that a run was made with, with `--set` overrides below the keys named in `only`.

    Raises:
        RecipeError: an override of something else, or a recipe that no longer loads.
    """
    text = parse_yaml(run.storage.read(RECIPE).decode(), run.storage.full(RECIPE))
    for override in overrides:
        key = override.partition("=")[0]
        if only and key.partition(".")[0] not in only:
            raise RecipeError(
                [f"--set {override}: here only {' and '.join(only)} can change; change the recipe and run it again"]
            )
    return with_overrides(text, overrides, parse_recipe)
