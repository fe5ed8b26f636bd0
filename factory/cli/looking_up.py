"""Commands that explain: filters, schema, doctor."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from factory.cli.app import JSON, command, say


@command("filters")
@click.argument("name", required=False)
@JSON
def filters_command(name: str | None, as_json: bool) -> None:
    """List the filters, or explain one with its parameters.

    \b
    Example:
      factory filters repetition
    """
    from factory.cli.filter_pages import filter_list, filter_page

    say(filter_page(name, as_json) if name else filter_list(as_json))


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
        say(text, nl=False)
    else:
        file.write_text(text)
        say(f"schema: {file}")


@command("doctor")
@JSON
def doctor_command(as_json: bool) -> None:
    """Check this machine: GPU, engine, torchvision, Ray, disk, Hub token; say what is missing and how to get it.

    \b
    Example:
      factory doctor
    """
    from factory.cli.doctor import examine

    checks = examine()
    if as_json:
        say(json.dumps([check.summary() for check in checks]))
    else:
        for check in checks:
            say(check.line())
    if any(check.state == "missing" for check in checks):
        sys.exit(1)
