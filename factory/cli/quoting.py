"""The command that says what a run will cost: quote."""

from __future__ import annotations

import json
import tempfile

import click

from factory.cli.app import JSON, OUT, PLUGIN, RECIPE, SET, command, say


@command("quote")
@RECIPE
@SET
@OUT
@click.option("--images", type=click.IntRange(min=1), metavar="N", help="Images to quote for.  [default: the source's]")
@click.option(
    "--hardware",
    metavar="CARDS",
    default="",
    help="Also on these cards, with commas: h100, h200, b200, a100, l40s. Where they are not here, reasoned from data sheets.",
)
@click.option(
    "--price",
    type=click.FloatRange(min=0),
    metavar="DOLLARS",
    help="Of an hour of one GPU, or of this machine where it has none.  [default: a dated table of cards]",
)
@click.option(
    "--probe",
    "sample",
    type=click.IntRange(min=8),
    default=200,
    show_default=True,
    help="Images in the probe, drawn by size.",
)
@click.option("--from", "of_run", metavar="RUN", help="Take no probe: use what this finished run cost.")
@click.option("--fresh", is_flag=True, help="Take a probe although earlier runs on this machine would tell.")
@PLUGIN
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
def quote_command(
    recipe: str,
    overrides: tuple[str, ...],
    out: str | None,
    images: int | None,
    hardware: str,
    price: float | None,
    sample: int,
    of_run: str | None,
    fresh: bool,
    plugins: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Say what a run will take and cost: time, GPU-hours, money, bytes, a kept caption; each from least to most.

    From earlier runs of such recipes on this machine, else from a probe: a sample of the images goes through everything, in a
    directory that is removed. The run that follows says how wrong the quote was.

    \b
    Example:
      factory quote recipes/quickstart.yaml --images 100000 --hardware h100,h200
    """
    from exports.storage import Storage
    from factory.quoting.quote_recipe import quote_recipe
    from factory.recipe import as_recipe
    from factory.releasing.released_recipe import recipe_file
    from factory.runs.run import Run, find_run
    from factory.work.plan import make_plan

    cards = [one.strip() for one in hardware.split(",") if one.strip()]
    run = None if of_run is None else find_run(of_run)
    file = recipe_file(recipe)
    loaded = as_recipe(file, overrides, plugins, released=str(file) != recipe)
    with tempfile.TemporaryDirectory(prefix="caption-factory-quote-") as scratch:
        plan = make_plan(loaded, Run(Storage(out or f"runs/{loaded.name}")), scratch=Storage(scratch))
        quotes = quote_recipe(plan, images, cards, price, run, sample, fresh, quiet or as_json)
    say(json.dumps(quotes.as_json()) if as_json else "\n".join(quotes.lines()))
