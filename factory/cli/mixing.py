"""The command that mixes corpora: mix."""

from __future__ import annotations

import json

import click

from factory.cli.app import JSON, SET, command, say


@command("mix")
@click.argument("file", metavar="MIXTURE.yaml")
@click.option("--to", required=True, metavar="DIR", help="A directory that is not there yet.")
@SET
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
def mix_command(file: str, to: str, overrides: tuple[str, ...], quiet: bool, as_json: bool) -> None:
    """Mix released captions, interleaved documents and plain text by shares of tokens into Parquet that trainers read.

    \b
    Example:
      factory mix mixture.yaml --to mixtures/one --set tokens=1000000
      factory train mixtures/one --to checkpoints/one
    """
    from exports.mixture import Mixture, mix, parse_mixture
    from exports.release import ReleaseError
    from factory.errors import RecipeError
    from factory.progress import Progress
    from factory.recipe.loading import with_overrides
    from factory.recipe.yaml_text import RecipeText, read_yaml

    def parse(text: RecipeText) -> Mixture:
        try:
            return parse_mixture(text.data, text.where)
        except ReleaseError as error:
            raise RecipeError(str(error).splitlines()) from None

    mixture = with_overrides(read_yaml(file), overrides, parse)
    with Progress(None, quiet or as_json) as progress:
        progress.phase("mixing")
        mixed = mix(mixture, to, progress.detail)
    say(json.dumps(mixed.summary()) if as_json else "\n".join(mixed.lines()))
