"""The command that trains: train."""

from __future__ import annotations

import json

import click

from factory.cli.app import JSON, SET, command, say


@command("train")
@click.argument("release")
@click.option("--to", required=True, metavar="DIR", help="Directory that becomes the checkpoint.")
@click.option("--recipe", metavar="YAML", help="How to train: a file with the keys of docs/training.md.")
@SET
@click.option("--held-out", metavar="FILE", help="SHA-256 of images that must not be learned, one a line.")
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
def train_command(
    release: str,
    to: str,
    recipe: str | None,
    overrides: tuple[str, ...],
    held_out: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train a model from a release (a directory, or hub:org/name@v1.2.0) into a checkpoint that a recipe can name.

    Run it again after a crash or a Ctrl-C: it goes on from the last checkpoint.

    \b
    Example:
      factory train datasets/quickstart --to checkpoints/round-1 --set steps=300 --set lr=2e-3
      factory run recipes/quickstart.yaml --set views.detailed.model=checkpoints/round-1
    """
    from dataclasses import asdict
    from pathlib import Path

    from factory.progress import Progress
    from factory.rounds.training import train
    from factory.rounds.training_settings import load_training

    settings = load_training(recipe, overrides)
    with Progress(None, quiet or as_json) as progress:
        progress.phase("training")
        trained = train(release, to, settings, Path(held_out) if held_out else None, log=progress.detail)
    say(json.dumps(asdict(trained)) if as_json else "\n".join(trained.lines()))
