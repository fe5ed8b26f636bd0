"""Commands about captions that exist: filter, select, train-quality."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from factory.cli.app import JSON, LIMIT, NOTIFY, PLUGIN, SET, command, say


@command("filter")
@click.argument("source")
@click.option("--out", required=True, metavar="RUN", help="Run directory, local or any fsspec URL.")
@click.option("--filters", "file", metavar="FILE", help="YAML file with filters (and select), as in a recipe.")
@click.option("--text", metavar="COLUMN", help="Column or extension that holds the caption.")
@click.option("--image", metavar="COLUMN", help="Column that holds the image.")
@click.option("--id", "key", metavar="COLUMN", help="Column that holds a unique id; unset: id, uid, ... where unique.")
@SET
@LIMIT
@click.option("--fresh", is_flag=True, help="Set an older run in this directory aside and start anew.")
@PLUGIN
@NOTIFY
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
def filter_command(
    source: str,
    out: str,
    file: str | None,
    text: str | None,
    image: str | None,
    key: str | None,
    overrides: tuple[str, ...],
    limit: int | None,
    fresh: bool,
    plugins: tuple[str, ...],
    notify: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Score captions that others made, and decide which to keep. Needs no captioner and no GPU.

    SOURCE is a file or folder of captions (.parquet, .jsonl, .json, .csv, .tsv, .txt), of images with captions, WebDataset tars, or
    a dataset on disk or on the Hub (hub:org/name@revision).

    \b
    Example:
      factory filter captions.jsonl --out runs/theirs --text caption
      factory select runs/theirs --set select.require.repetition=0.9
    """
    from factory.api import calls

    outcome = calls.filter(
        source,
        out,
        filters=file,
        text=text,
        image=image,
        id=key,
        overrides=overrides,
        limit=limit,
        fresh=fresh,
        quiet=quiet or as_json,
        plugins=plugins,
        notify=notify,
    )
    say(json.dumps(outcome.summary()) if as_json else "\n".join(outcome.lines()))


@command("select")
@click.argument("run")
@SET
@JSON
def select_command(run: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Decide again which captions of a run to keep, with other rules. Scores nothing and starts no engine.

    \b
    Example:
      factory select runs/theirs --set select.require.repetition=0.9 --set select.keep_top.quality=0.5
    """
    from factory.pipeline import select_again
    from factory.runs.run import find_run

    outcome = select_again(find_run(run), overrides)
    say(json.dumps(outcome) if as_json else "\n".join(_selection_lines(outcome)))


def _selection_lines(outcome: dict[str, Any]) -> list[str]:
    selection = outcome["selection"]
    lines = [f"captions {selection['captions']:,}, {selection['kept']:,} kept (before: {outcome['before']:,})"]
    lines += [f"  dropped {number:,} {reason}" for reason, number in selection["dropped"].items()]
    return [*lines, f"report   {outcome['report']}"]


@command("train-quality")
@click.option("--good", required=True, metavar="SOURCE", help="Captions as they should be.")
@click.option("--bad", required=True, metavar="SOURCE", help="Captions as they should not be.")
@click.option("--out", required=True, metavar="FILE", help="Where the model goes (.bin).")
@click.option("--text", metavar="COLUMN", help="Column that holds the caption in both.")
@JSON
def train_quality_command(good: str, bad: str, out: str, text: str | None, as_json: bool) -> None:
    """Train the fastText classifier of the filter `quality`.

    \b
    Example:
      factory train-quality --good human.jsonl --bad spam.jsonl --out quality.bin
      factory filter captions.jsonl --out runs/theirs --filters filters.yaml     # filters: [quality: {model: quality.bin}]
    """
    from factory.filtering import texts_of
    from filters import train_quality

    trained = train_quality(texts_of(good, text), texts_of(bad, text), out)
    if as_json:
        say(json.dumps(asdict(trained)))
        return
    left_out = ", ".join(f"{number:,} {reason}" for reason, number in trained.left_out.items() if number)
    say(f"trained on {trained.trained:,} captions" + (f" (left out: {left_out})" if left_out else ""))
    say(f"on {trained.held_out:,} others: AUROC {trained.auroc:.3f}, accuracy {trained.accuracy:.3f}")
    say(f"model    {trained.path}")
