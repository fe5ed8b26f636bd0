"""Commands for looking at captions, labelling and comparing them: review, compare, sample."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import click

from factory.cli.app import JSON, command, say
from factory.errors import RunError

PORT = click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one."
)
HOST = click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at; another than this machine's own lets others in.",
)
LOOK_ONLY = (
    "Captions of a release or file can be looked at only. To label and decide, start factory review again with --out DIR, which "
    "keeps them as a run."
)
NO_BROWSER = click.option("--no-browser", is_flag=True, help="Print the address only.")


@command("review")
@click.argument("run", metavar="RUN|RELEASE|FILE")
@PORT
@HOST
@click.option("--read-only", is_flag=True, help="Nothing can be labelled, decided or changed.")
@click.option(
    "--out",
    metavar="DIR",
    help="Of a release or file: keep its captions, scores and labels in this run directory; without it, only look.",
)
@click.option("--text", metavar="COLUMN", help="Of a file: the column of the captions.")
@click.option("--id", "key", metavar="COLUMN", help="Of a file: the column of the images' keys.")
@click.option(
    "--metrics-port", type=click.IntRange(1, 65535), help="Numbers of the run for Prometheus, at /metrics of this port."
)
@NO_BROWSER
def review_command(
    run: str,
    port: int,
    host: str,
    read_only: bool,
    out: str | None,
    text: str | None,
    key: str | None,
    metrics_port: int | None,
    no_browser: bool,
) -> None:
    """Look at all captions of a run in the browser, label them, decide on them.

    The address that is printed holds a token; who has it may look and, without --read-only, label and decide. The captions of a
    release, or of a file that `factory filter` reads, are scored with its text filters and then shown in the same way.

    \b
    Example:
      factory review runs/quickstart
    """
    _needs_extra()
    from exports.storage import Storage
    from factory.review.access import READ_ONLY
    from factory.review.server import Listening, serve
    from factory.runs.run import RECIPE_LOCK

    target = run
    why = READ_ONLY if read_only else ""
    with ExitStack() as stack:
        if not Storage(run).exists(RECIPE_LOCK):
            directory = out or stack.enter_context(tempfile.TemporaryDirectory(prefix="caption-factory-review-"))
            say(
                "reading and scoring the captions" + ("" if out else "; without --out they can be looked at only"),
                err=True,
            )
            _as_run(run, directory, text, key)
            run, why = directory, why or ("" if out else LOOK_ONLY)
        serve(run, Listening(port, _ready(target, host, no_browser), host, metrics_port), why)


def _as_run(target: str, directory: str, text: str | None, key: str | None) -> None:
    """A run of the captions of a release or file, as `factory filter` makes it."""
    from exports.local_release import find_release
    from exports.release import ReleaseError
    from factory.filtering import filter_recipe, run_name
    from factory.pipeline import run_recipe
    from factory.recipe import recipe_yaml

    try:
        target = str(find_release(target).folder / "data")
        text, key = text or "caption", key or "id"
    except (ReleaseError, OSError):
        pass  # a file, then, or whatever else a source can be
    recipe = filter_recipe(target, run_name(target), text=text, id=key)
    run_recipe(recipe, recipe_yaml(recipe), directory, quiet=True)


def _ready(what: str, host: str, no_browser: bool) -> Callable[[str], None]:
    """Says where the app is, and opens it."""

    def ready(address: str) -> None:
        from factory.review.server import is_loopback

        if not is_loopback(host):
            say(
                f"warning: others can reach {host}; the address below is all they need, and it is not encrypted",
                err=True,
            )
        say(f"review of {what}, stop with Ctrl-C: {address}")
        sys.stdout.flush()
        if not no_browser:
            import webbrowser

            webbrowser.open(address)

    return ready


@command("compare")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("-n", "count", type=click.IntRange(min=1), default=200, show_default=True, help="How many pairs.")
@click.option("--blind/--open", default=True, show_default=True, help="Hide which side a caption is of, or show it.")
@click.option(
    "--by",
    metavar="NAMES",
    default="",
    help="Win rates by these, too: view, length, format, fields of the source.  [default: view,length]",
)
@click.option(
    "--judge",
    metavar="MODEL",
    help="Ask this vision-language model the same, in both orders: a model, or '{endpoint: URL, model: NAME}', as in a recipe.",
)
@click.option("--person-hour", type=click.FloatRange(min=0), metavar="PRICE", help="What an hour of a person costs.")
@click.option(
    "--judge-hour", type=click.FloatRange(min=0), metavar="PRICE", help="What an hour of the judge's machine costs."
)
@click.option("--results", is_flag=True, help="Print the win rates so far instead.")
@click.option("--out", metavar="DIR", help="Where the answers are kept.  [default: the run of A, else that of B]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another one, another draw.")
@PORT
@HOST
@NO_BROWSER
@JSON
def compare_command(
    first: str,
    second: str,
    count: int,
    blind: bool,
    by: str,
    judge: str | None,
    person_hour: float | None,
    judge_hour: float | None,
    results: bool,
    out: str | None,
    seed: int,
    port: int,
    host: str,
    no_browser: bool,
    as_json: bool,
) -> None:
    """Compare two makers of captions on the same images, blind: which has fewer made-up things, which says more.

    A and B are runs (their kept captions; RUN#VIEW for one view, RUN#best:FILTER for what a judge prefers), rounds (LOOP#N), releases'
    directories, or files with image_key and caption.

    \b
    Example:
      factory compare runs/first runs/second -n 200
      factory compare loops/vila2#2 loops/vila2#1 --results
      factory compare runs/first runs/second --judge '{endpoint: http://localhost:8000/v1, model: NAME}' --results
    """
    _needs_extra()
    from factory.review.comparing import Comparison
    from factory.review.server import Listening, serve_comparison

    comparison = Comparison(first, second, count, out, seed, _names(by))
    hours = person_hour, judge_hour
    if judge is not None:
        say(f"asking {judge} about {comparison.pairs.height:,} pairs; what it said before is not asked again", err=True)
        comparison.ask(_judge_of(judge), quiet=as_json)
    if results or as_json:
        say(json.dumps(comparison.summary(*hours)) if as_json else "\n".join(comparison.lines(*hours)))
        return
    listening = Listening(port, _ready(f"{first} and {second}", host, no_browser), host)
    serve_comparison(comparison, listening, blind, hours)


def _judge_of(text: str) -> str | dict[str, Any]:
    """A model's name, or a mapping as a recipe has it."""
    if not text.lstrip().startswith("{"):
        return text
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise RunError(
            f"--judge {text}: write it as in a recipe: '{{endpoint: http://localhost:8000/v1, model: NAME}}'"
        )
    return found


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@command("sample")
@click.argument("run")
@click.option("-n", "count", type=click.IntRange(min=1), default=400, show_default=True, help="How many.")
@click.option(
    "--for", "purpose", type=click.Choice(["calibrate", "audit"]), default="calibrate", show_default=True,
    help="calibrate: of all captions the recipe accepts; audit: of those that are kept.",
)  # fmt: skip
@click.option("--by", metavar="STRATA", default="", help="view, length, or both with a comma.")
@click.option("--unit", type=click.Choice(["caption", "sentence"]), default="caption", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another one, another draw.")
@click.option(
    "--to",
    required=True,
    metavar="FILE",
    help="labels.csv, .jsonl or .parquet; or sheet.html, a page with the pictures to label on.",
)
@JSON
def sample_command(run: str, count: int, purpose: Any, by: str, unit: str, seed: int, to: str, as_json: bool) -> None:
    """Draw captions to label, as `factory calibrate` needs them: at random, each of another image, without scores.

    Fill in the column `label` (1: right, 0: wrong, empty: nobody can tell) and give the file to factory calibrate --labels. A sheet is one
    HTML file with the pictures, for any browser: one key a verdict, and it gives the labels as such a file.

    \b
    Example:
      factory sample runs/quickstart -n 400 --to labels.csv
      factory sample runs/quickstart -n 400 --by view,length --to sheet.html
    """
    from factory.review.caption_index import CaptionIndex
    from factory.review.sample_file import write_sample
    from factory.runs.run import find_run

    drawn = write_sample(CaptionIndex(find_run(run)), to, count, unit, purpose, _names(by), seed)
    if as_json:
        say(json.dumps({"asked": count, "drawn": drawn, "unit": unit, "to": to}))
        return
    fewer = f" (there are no more images; {count:,} were asked for)" if drawn < count else ""
    labels = "labels.csv" if to.lower().endswith(".html") else to
    say(
        f"{drawn:,} {unit}s in {to}{fewer}\nthen        factory calibrate {run} --labels {labels} --target-precision 0.9"
    )


def _needs_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("scipy", "starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise RunError(f"the review app needs {' and '.join(missing)}: pip install 'caption-factory[review]'")
