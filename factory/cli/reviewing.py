"""Commands for looking at captions and labelling them: review, sample."""

from __future__ import annotations

import sys
from typing import Any

import click

from factory.cli.app import command, say
from factory.errors import RunError


@command("review")
@click.argument("run")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at; another than this machine's own lets others in.",
)
@click.option("--read-only", is_flag=True, help="Nothing can be labelled, decided or changed.")
@click.option("--no-browser", is_flag=True, help="Print the address only.")
def review_command(run: str, port: int, host: str, read_only: bool, no_browser: bool) -> None:
    """Look at all captions of a run in the browser, label them, decide on them.

    The address that is printed holds a token; who has it may look and, without --read-only, label and decide.

    \b
    Example:
      factory review runs/quickstart
    """
    _needs_extra()
    from factory.review.server import is_loopback, serve

    def ready(address: str) -> None:
        if not is_loopback(host):
            say(
                f"warning: others can reach {host}; the address below is all they need, and it is not encrypted",
                err=True,
            )
        say(f"review of {run}, stop with Ctrl-C: {address}")
        sys.stdout.flush()
        if not no_browser:
            import webbrowser

            webbrowser.open(address)

    serve(run, port, host, read_only, ready=ready)


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
@click.option("--to", required=True, metavar="FILE", help="labels.csv, .jsonl or .parquet.")
def sample_command(run: str, count: int, purpose: Any, by: str, unit: str, seed: int, to: str) -> None:
    """Draw captions to label, as `factory calibrate` needs them: at random, each of another image, without scores.

    Fill in the column `label` (1: right, 0: wrong, empty: nobody can tell) and give the file to factory calibrate --labels.

    \b
    Example:
      factory sample runs/quickstart -n 400 --to labels.csv
    """
    from factory.review.caption_index import CaptionIndex
    from factory.review.sample_file import write_sample
    from factory.runs.run import find_run

    strata = [name.strip() for name in by.split(",") if name.strip()]
    drawn = write_sample(CaptionIndex(find_run(run)), to, count, unit, purpose, strata, seed)
    fewer = f" (there are no more images; {count:,} were asked for)" if drawn < count else ""
    say(f"{drawn:,} {unit}s in {to}{fewer}\nthen        factory calibrate {run} --labels {to} --target-precision 0.9")


def _needs_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise RunError(f"the review app needs {' and '.join(missing)}: pip install 'caption-factory[review]'")
