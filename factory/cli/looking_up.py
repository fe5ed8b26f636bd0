"""Commands that explain: filters, schema, doctor, completion."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from factory.cli.app import JSON, PLUGIN, command, say


@command("filters")
@click.argument("name", required=False)
@PLUGIN
@JSON
def filters_command(name: str | None, plugins: tuple[str, ...], as_json: bool) -> None:
    """List the filters, or explain one with its parameters.

    \b
    Example:
      factory filters repetition
    """
    from factory.cli.filter_pages import filter_list, filter_page
    from factory.plugins import load_plugin

    for file in plugins:
        load_plugin(file)
    say(filter_page(name, as_json) if name else filter_list(as_json))


@command("schema")
@click.option("--out", "file", type=click.Path(path_type=Path), help="Write to a file instead of the terminal.")
@JSON
def schema_command(file: Path | None, as_json: bool) -> None:
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
        say(json.dumps({"schema": str(file)}) if as_json else f"schema: {file}")


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


@command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@JSON
def completion_command(shell: str, as_json: bool) -> None:
    """Print what makes a shell complete the commands and options of `factory`.

    \b
    Example:
      factory completion bash >> ~/.bashrc
      factory completion zsh >> ~/.zshrc
      factory completion fish > ~/.config/fish/completions/factory.fish
    """
    from click.shell_completion import get_completion_class

    from factory.cli.app import cli

    kind = get_completion_class(shell)
    assert kind is not None
    text = kind(cli, {}, "factory", "_FACTORY_COMPLETE").source()
    say(json.dumps({"shell": shell, "script": text}) if as_json else text)
