"""Writes docs/commands.md from the commands' own help: `python -m factory.cli.command_reference docs/commands.md`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from factory.cli.app import COMMANDS, cli

HEAD = """\
# Commands

Made from `factory COMMAND --help` by `make docs`; do not edit. Every command takes `--json` and then prints one JSON object, and `--debug`,
which shows the traceback of an error. Exit codes: 0 done; 1 it could not be done, and the message says what to do; 2 a wrong recipe or option; 130 stopped
by Ctrl-C, what is finished is kept; 70 a bug.
"""


def reference() -> str:
    """The page."""
    lines = [HEAD]
    context = click.Context(cli, info_name="factory", **cli.context_settings)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context, max_content_width=110, terminal_width=110)
        lines += [f"## {name}", "", "```text", command.get_help(inner).rstrip(), "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())
