"""A probe: a sample of the source taken through everything that the recipe asks for, and what that cost."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

import polars as pl

from exports.storage import Storage
from factory.costs.machine import cores
from factory.costs.run_costs import RunCosts, remember_costs
from factory.errors import RecipeError, RunError
from factory.pipeline import run_recipe
from factory.quoting.sample import Sample, draw_sample, write_sample
from factory.recipe import Recipe, recipe_yaml
from factory.runs import tables
from factory.runs.run import Run
from factory.work.calibrations import copy_calibrations
from factory.work.plan import Plan, make_plan

IMAGES: Final = 200
"""In a probe, unless it is asked for more."""
PART: Final = 4
"""A part of the sample is scored, selected and released a second time, to tell what is paid once from what is paid an image."""
REPLAYED: Final = ("score", "repair", "select", "release")


def probe(plan: Plan, images: int, quiet: bool = False) -> tuple[RunCosts, Sample]:
    """Take a sample through a run of its own, which is removed afterwards. Starts engines.

    Args:
        plan: of the recipe that is quoted; its run's calibrations are used, nothing else of it.
        images: in the sample.
        quiet: no progress.

    Raises:
        FactoryError: whatever would stop the run itself.
        RecipeError: the recipe makes no captions.
    """
    recipe = plan.work.recipe
    if not plan.work.seeing:
        raise RecipeError(["views: this recipe captions nothing, so there is nothing to quote"])
    sample = draw_sample(plan, images, recipe.seed)
    with tempfile.TemporaryDirectory(prefix="caption-factory-probe-") as name:
        folder = Path(name)
        small = write_sample(sample, recipe, folder)
        run = Run(Storage(str(folder / "run")))
        copy_calibrations(plan.work.run, run)
        outcome = run_recipe(small, recipe_yaml(small), run.url, quiet=quiet, measure=True)
        if outcome.costs is None:
            raise RunError(
                "the probe captioned nothing, so there is nothing to quote; look at the recipe with `factory preview`"
            )
        slopes = _slopes(small, run, folder, len(sample.rows))
    preparing = sample.prepare_ms / max(1, cores() - 1)
    costs = replace(outcome.costs, slopes=slopes, rates={**outcome.costs.rates, "preparing": preparing})
    remember_costs(costs)
    return costs, sample


def _slopes(recipe: Recipe, run: Run, folder: Path, rows: int) -> dict[str, float]:
    """Seconds an image of the phases that ask no engine: the difference of two runs over captions that are there."""
    part = max(1, rows // PART)
    if part == rows:
        return {}
    few = _replayed(recipe, run, folder / "few", part)
    all_ = _replayed(recipe, run, folder / "all", rows)
    if few is None or all_ is None:
        return {}
    names = [name for name in REPLAYED if name in few and name in all_]
    return {name: max(0.0, all_[name] - few[name]) / (rows - part) for name in names}


def _replayed(recipe: Recipe, run: Run, folder: Path, rows: int) -> dict[str, float] | None:
    """Seconds by phase of a run over the first rows of the sample, whose captions and answers are taken from `run`.

    None where something would have to be asked again.
    """
    from factory.sources import open_source

    source = open_source(recipe, Storage(str(folder)).child("source"))
    shards = list(source.shards())
    keys = [row.key for shard in shards for row in source.read(shard, 10**9)][:rows]
    again = Run(Storage(str(folder / "run")))
    for table in ("answers", "calibrations", "shards", "quarantine", "gallery"):
        if run.storage.exists(table):
            shutil.copytree(run.storage.full(table), again.storage.full(table))
    for place in run.parts("captions"):
        captions = run.storage.scan([f"captions/{place}.parquet"]).filter(pl.col("image_key").is_in(keys)).collect()
        again.append("captions", captions.select(tables.CAPTIONS.names()), place)
    if recipe.release is not None:
        release = recipe.release.model_copy(update={"to": str(folder / "release")})
        recipe = recipe.model_copy(update={"release": release})
    if make_plan(recipe, again, rows).open_shards:
        return None
    outcome = run_recipe(recipe, recipe_yaml(recipe), again.url, rows, quiet=True)
    return dict(outcome.seconds) if not outcome.starts.get("engines") else None
