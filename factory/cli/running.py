"""Commands that make captions: run, plan, preview, status, report."""

from __future__ import annotations

import json
from typing import Any

import click

from factory.cli.app import JSON, LIMIT, NOTIFY, OUT, PLUGIN, RECIPE, SET, command, say


def _retries(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    """The states of `--retry`, each once."""
    known = (
        "truncated",
        "unfaithful",
        "unanswered",
        "failed",
    )  # as factory.repair.retrying.Retry; failed ones always are
    asked = tuple(dict.fromkeys(one.strip() for one in (value or "").split(",") if one.strip()))
    for one in asked:
        if one not in known:
            raise click.BadParameter(f"'{one}' is none of {', '.join(known)}")
    return asked


@command("run")
@RECIPE
@SET
@OUT
@LIMIT
@click.option(
    "--fresh", is_flag=True, help="Set an older run in this directory aside (it is kept in before-*/) and start anew."
)
@click.option(
    "--retry",
    metavar="STATES",
    callback=_retries,
    help="Try once more what is truncated, unfaithful (by the recipe's repair) or unanswered; several with commas.",
)
@PLUGIN
@NOTIFY
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
def run_command(
    recipe: str,
    overrides: tuple[str, ...],
    out: str | None,
    limit: int | None,
    fresh: bool,
    retry: tuple[Any, ...],
    plugins: tuple[str, ...],
    notify: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run a recipe: caption what is missing, score, select, release, report.

    Run it again after a crash, a Ctrl-C or a change of the recipe: only what is missing is done. A release stands for the
    recipe it was made with.

    \b
    Example:
      factory run recipes/quickstart.yaml --set views.detailed.sampling.n=2 --out runs/two
      factory run hub:org/web-recaption@v1.2.0 --set release.to=datasets/again
    """
    from factory.api.calls import run

    outcome = run(
        recipe,
        out,
        overrides=overrides,
        limit=limit,
        fresh=fresh,
        retry=retry,
        quiet=quiet or as_json,
        plugins=plugins,
        notify=notify,
    )
    if as_json:
        say(json.dumps(outcome.summary()))
    else:
        for line in outcome.lines():
            say(line)


@command("plan")
@RECIPE
@SET
@OUT
@LIMIT
@PLUGIN
@JSON
def plan_command(
    recipe: str,
    overrides: tuple[str, ...],
    out: str | None,
    limit: int | None,
    plugins: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show what a run would do: what is reused, what is done again and why. Starts no engine.

    \b
    Example:
      factory plan recipes/quickstart.yaml --set filters.length.min_words=4
    """
    from factory.api import calls
    from factory.judging.judge_report import plan_lines, plan_summary
    from factory.quoting.known import known_lines, known_summary

    plan = calls.plan(recipe, out, overrides=overrides, limit=limit, plugins=plugins)
    if as_json:
        say(json.dumps(plan.summary() | plan_summary(plan) | known_summary(plan)))
    else:
        say("\n".join([*plan.lines(), *plan_lines(plan), *known_lines(plan)]))


@command("preview")
@RECIPE
@SET
@OUT
@click.option("-n", "--images", type=click.IntRange(1, 192), default=16, show_default=True, help="How many images.")
@PLUGIN
@JSON
def preview_command(
    recipe: str, overrides: tuple[str, ...], out: str | None, images: int, plugins: tuple[str, ...], as_json: bool
) -> None:
    """Take a few images through everything and write an HTML page of image, captions and verdicts. Releases nothing.

    \b
    Example:
      factory preview recipes/quickstart.yaml -n 16
    """
    from exports.storage import Storage
    from factory.pipeline import run_recipe
    from factory.recipe import as_recipe, recipe_yaml
    from factory.releasing.released_recipe import recipe_file
    from factory.runs.run import Run
    from factory.work.calibrations import copy_calibrations

    file = recipe_file(recipe)
    loaded = as_recipe(file, overrides, plugins, released=str(file) != recipe).model_copy(update={"release": None})
    out = out or f"runs/{loaded.name}.preview"
    copy_calibrations(Run(Storage(f"runs/{loaded.name}")), Run(Storage(out)))
    outcome = run_recipe(loaded, recipe_yaml(loaded), out, images, quiet=as_json)
    say(json.dumps(outcome.summary()) if as_json else f"preview: {outcome.report}")


@command("status")
@click.argument("run")
@JSON
def status_command(run: str, as_json: bool) -> None:
    """Say how far a run is; works while it runs.

    \b
    Example:
      factory status runs/quickstart
    """
    from factory.cli.status import run_status
    from factory.runs.run import find_run

    status = run_status(find_run(run))
    say(json.dumps(status.summary()) if as_json else "\n".join(status.lines()))


@command("report")
@click.argument("run")
@JSON
def report_command(run: str, as_json: bool) -> None:
    """Draw the HTML report of a run again, from its tables.

    \b
    Example:
      factory report runs/quickstart
    """
    from factory.report.collect import rewrite_report
    from factory.runs.run import find_run

    path = rewrite_report(find_run(run))
    say(json.dumps({"report": path}) if as_json else f"report: {path}")
