"""The commands: parse, call one function, print. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from factory.errors import FactoryError

RECIPE = click.argument("recipe", type=click.Path(path_type=Path))
SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Change a value of the recipe; may be repeated."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
OUT = click.option(
    "--out", metavar="DIR", help="Run directory, local or any fsspec URL.  [default: runs/<recipe name>]"
)
LIMIT = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N rows of the source.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="caption-factory", prog_name="factory")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Caption images in bulk, score the captions, release a versioned dataset, train on it, and again.

    \b
    Example:
      factory run recipes/quickstart.yaml
    """
    context.obj = {"debug": debug}


def command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command whose errors are one message on stderr and an exit code."""

    def register(function: Callable[..., None]) -> click.Command:
        @cli.command(name)
        @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
        @click.pass_context
        @wraps(function)
        def guarded(context: click.Context, /, debug: bool, **values: Any) -> None:
            try:
                function(**values)
            except (Exception, KeyboardInterrupt) as error:
                if isinstance(error, (click.exceptions.ClickException, click.exceptions.Exit, click.Abort)):
                    raise
                if debug or context.obj["debug"]:
                    raise
                text, code = explain(error)
                click.echo(text, err=True)
                sys.exit(code)

        return guarded

    return register


def explain(error: BaseException) -> tuple[str, int]:
    """What to tell the user about an error, and the exit code."""
    import errno

    from exports.release import ReleaseError
    from filters import FilterError

    if isinstance(error, KeyboardInterrupt):
        return "\nstopped; what is finished is kept. Run the same command again to go on.", 130
    if isinstance(error, FactoryError):
        return f"error: {error}", error.exit_code
    if isinstance(error, (ReleaseError, FilterError)):
        return f"error: {error}", 1
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"error: no space left on the disk of {error.filename or 'the run directory'}; make room and run again: what is finished is kept",
            1,
        )
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return (
            f"error: {error.filename or 'the run directory'} cannot be written ({error.strerror}); choose another --out",
            1,
        )
    if isinstance(error, OSError):
        return f"error: {error}", 1
    return f"internal error: {type(error).__name__}: {error}\nThis is a bug; run again with --debug to see where.", 70


@command("run")
@RECIPE
@SET
@OUT
@LIMIT
@click.option(
    "--fresh", is_flag=True, help="Set an older run in this directory aside (it is kept in before-*/) and start anew."
)
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
def run_command(
    recipe: Path,
    overrides: tuple[str, ...],
    out: str | None,
    limit: int | None,
    fresh: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run a recipe: caption what is missing, score, select, release, report.

    Run it again after a crash, a Ctrl-C or a change of the recipe: only what is missing is done.

    \b
    Example:
      factory run recipes/quickstart.yaml --set views.detailed.sampling.n=2 --out runs/two
    """
    from factory.pipeline import run_recipe
    from factory.recipe import load_recipe, recipe_yaml

    loaded = load_recipe(recipe, overrides)
    outcome = run_recipe(loaded, recipe_yaml(loaded), out or f"runs/{loaded.name}", limit, fresh, quiet or as_json)
    if as_json:
        click.echo(json.dumps(outcome.summary()))
    else:
        for line in outcome.lines():
            click.echo(line)


@command("plan")
@RECIPE
@SET
@OUT
@LIMIT
@JSON
def plan_command(recipe: Path, overrides: tuple[str, ...], out: str | None, limit: int | None, as_json: bool) -> None:
    """Show what a run would do: what is reused, what is done again and why. Starts no engine.

    \b
    Example:
      factory plan recipes/quickstart.yaml --set filters.length.params.min_words=4
    """
    from exports.storage import Storage
    from factory.plan import make_plan
    from factory.recipe import load_recipe
    from factory.run import Run

    loaded = load_recipe(recipe, overrides)
    plan = make_plan(loaded, Run(Storage(out or f"runs/{loaded.name}")), limit)
    click.echo(json.dumps(plan.summary()) if as_json else "\n".join(plan.lines()))


@command("preview")
@RECIPE
@SET
@OUT
@click.option("-n", "--images", type=click.IntRange(1, 192), default=16, show_default=True, help="How many images.")
@JSON
def preview_command(recipe: Path, overrides: tuple[str, ...], out: str | None, images: int, as_json: bool) -> None:
    """Take a few images through everything and write an HTML page of image, captions and verdicts. Releases nothing.

    \b
    Example:
      factory preview recipes/quickstart.yaml -n 16
    """
    from factory.pipeline import run_recipe
    from factory.recipe import load_recipe, recipe_yaml

    loaded = load_recipe(recipe, overrides).model_copy(update={"release": None})
    outcome = run_recipe(loaded, recipe_yaml(loaded), out or f"runs/{loaded.name}.preview", images, quiet=as_json)
    click.echo(json.dumps(outcome.summary()) if as_json else f"preview: {outcome.report}")


@command("status")
@click.argument("run")
@JSON
def status_command(run: str, as_json: bool) -> None:
    """Say how far a run is; works while it runs.

    \b
    Example:
      factory status runs/quickstart
    """
    from factory.run import find_run
    from factory.status import run_status

    status = run_status(find_run(run))
    click.echo(json.dumps(status.summary()) if as_json else "\n".join(status.lines()))


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
    from factory.run import find_run

    path = rewrite_report(find_run(run))
    click.echo(json.dumps({"report": path}) if as_json else f"report: {path}")


@command("publish")
@click.argument("release", metavar="RELEASE|RUN")
@click.option("--to", required=True, metavar="hub:ORG/NAME", help="Dataset on the Hub; created where it is missing.")
@click.option("--version", metavar="X.Y.Z", help="Which version.  [default: that of RELEASE, or the newest]")
@click.option("--private", is_flag=True, help="Create the dataset as a private one.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be sent; change nothing.")
@click.option("--force-card", is_flag=True, help="Replace a README.md that was edited by hand.")
@JSON
def publish_command(
    release: str, to: str, version: str | None, private: bool, dry_run: bool, force_card: bool, as_json: bool
) -> None:
    """Publish a release to the Hub: one commit, verified, then a tag that never moves.

    Run it again after whatever broke it: it reads what is on the Hub and goes on from there.

    \b
    Example:
      factory publish datasets/web-recaption --to hub:org/web-recaption --version 1.2.0 --dry-run
    """
    from exports.address import parse_address
    from exports.hub import prepare_process
    from exports.local_release import find_release
    from exports.publish import publish
    from factory.release_folder import release_folder

    address = parse_address(to)
    found = find_release(release_folder(release), version)
    prepare_process()
    _quiet_bars(as_json)
    published = publish(
        found, address, private=private, dry_run=dry_run, force_card=force_card, report=_progress(as_json)
    )
    click.echo(json.dumps(published.summary()) if as_json else "\n".join(published.lines()))


@command("verify")
@click.argument("target", metavar="hub:ORG/NAME@vX.Y.Z|DIR")
@JSON
def verify_command(target: str, as_json: bool) -> None:
    """Compare every byte of a release with its manifest, on the Hub or in a directory.

    \b
    Example:
      factory verify hub:org/web-recaption@v1.2.0
    """
    from exports.hub import prepare_process
    from exports.verify import verify

    if target.startswith("hub:"):
        prepare_process()
    verified = verify(target, report=_progress(as_json))
    click.echo(json.dumps(verified.summary()) if as_json else "\n".join(verified.lines()))
    if verified.problems:
        sys.exit(1)


@command("diff")
@click.argument("before", metavar="hub:ORG/NAME@vX.Y.Z|DIR|RUN")
@click.argument("after", metavar="hub:ORG/NAME@vX.Y.Z|DIR|RUN")
@click.option("--examples", type=click.IntRange(min=0), default=3, show_default=True, help="Rows shown of each change.")
@JSON
def diff_command(before: str, after: str, examples: int, as_json: bool) -> None:
    """Compare two versions of a release: rows, captions, images, scores, drop reasons.

    No image is read or fetched.

    \b
    Example:
      factory diff hub:org/web-recaption@v1.1.0 datasets/web-recaption/1.2.0
    """
    from exports.diff import diff
    from exports.hub import prepare_process
    from factory.release_folder import release_folder

    targets = [target if target.startswith("hub:") else release_folder(target) for target in (before, after)]
    if any(str(target).startswith("hub:") for target in targets):
        prepare_process()
    found = diff(*targets, examples=examples)
    click.echo(json.dumps(found.summary()) if as_json else "\n".join(found.lines()))


def _progress(as_json: bool) -> Callable[[str], None] | None:
    return None if as_json else lambda line: click.echo(line, err=True)


def _quiet_bars(as_json: bool) -> None:
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if as_json or not sys.stderr.isatty():
        disable_progress_bars()


@command("filters")
@click.argument("name", required=False)
@JSON
def filters_command(name: str | None, as_json: bool) -> None:
    """List the filters, or explain one with its parameters.

    \b
    Example:
      factory filters repetition
    """
    from factory.filter_pages import filter_list, filter_page

    click.echo(filter_page(name, as_json) if name else filter_list(as_json))


@command("schema")
@click.option("--out", "file", type=click.Path(path_type=Path), help="Write to a file instead of the terminal.")
def schema_command(file: Path | None) -> None:
    """Print the JSON Schema of recipes, so that editors complete and check them.

    \b
    Example:
      factory schema --out recipes/recipe.schema.json
    """
    from factory.recipe import recipe_schema

    text = json.dumps(recipe_schema(), indent=2) + "\n"
    if file is None:
        click.echo(text, nl=False)
    else:
        file.write_text(text)
        click.echo(f"schema: {file}")


@command("doctor")
@JSON
def doctor_command(as_json: bool) -> None:
    """Check this machine: GPU, engine, torchvision, Ray, disk, Hub token; say what is missing and how to get it.

    \b
    Example:
      factory doctor
    """
    from factory.doctor import examine

    checks = examine()
    if as_json:
        click.echo(json.dumps([check.summary() for check in checks]))
    else:
        for check in checks:
            click.echo(check.line())
    if any(check.state == "missing" for check in checks):
        sys.exit(1)


def main() -> None:
    """The `factory` command."""
    signal.signal(signal.SIGTERM, _terminate)
    cli()


def _terminate(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
