"""The `factory` command: what its commands share, and where each is found. A command's file is loaded when it is asked for."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any, Final

import click

from exports.foreign_text import plain
from factory.errors import FactoryError, advice_of, disk_full, is_disk_full

RECIPE = click.argument("recipe", metavar="RECIPE|RELEASE")
SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Change a value of the recipe; may be repeated."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
OUT = click.option(
    "--out", metavar="DIR", help="Run directory, local or any fsspec URL.  [default: runs/<recipe name>]"
)
LIMIT = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N rows of the source.")
PLUGIN = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py",
    help="Load filters, sources or formats of your own from a file (docs/plugins.md); may be repeated.",
)
NOTIFY = click.option(
    "--notify",
    metavar="URL",
    help="Tell this address how it ended (docs/notice.md).  [default: FACTORY_WEBHOOK, if set]",
)


COMMANDS: Final = {
    "init": "beginning",
    "plan": "running",
    "preview": "running",
    "run": "running",
    "status": "running",
    "report": "running",
    "filter": "filtering",
    "select": "filtering",
    "review": "reviewing",
    "compare": "reviewing",
    "sample": "reviewing",
    "calibrate": "judging",
    "agree": "judging",
    "evaluate": "judging",
    "export": "publishing",
    "publish": "publishing",
    "mix": "mixing",
    "train": "training",
    "loop": "looping",
    "rounds": "looping",
    "verify": "publishing",
    "diff": "publishing",
    "train-quality": "filtering",
    "filters": "looking_up",
    "schema": "looking_up",
    "doctor": "looking_up",
    "ls": "listing",
    "completion": "looking_up",
}
"""Command -> the file that holds it, in the order of work."""


class Commands(click.Group):
    """A group whose commands are in files of their own, `factory/cli/<file>.py`, as `<name>_command`."""

    def list_commands(self, _: click.Context) -> list[str]:
        """All commands, in the order of work."""
        return list(COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        """The command of this name; loads its file."""
        if name not in COMMANDS:
            return None
        module = import_module(f"factory.cli.{COMMANDS[name]}")
        return getattr(module, f"{name.replace('-', '_')}_command")  # type: ignore[no-any-return]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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


def say(text: str, err: bool = False, nl: bool = True) -> None:
    """Print to the terminal. Every command prints here: keys, paths and captions are texts of strangers."""
    click.echo(plain(text), err=err, nl=nl)


def command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command whose errors are one message on stderr and an exit code."""

    def register(function: Callable[..., None]) -> click.Command:
        @click.command(name)
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
                text, code = explain(_damage(values) or error if _is_unexplained(error) else error)
                say(text, err=True)
                sys.exit(code)

        return guarded

    return register


def _is_unexplained(error: BaseException) -> bool:
    """Whether an error has no words for the user yet: what a reader of a damaged file raises is one of these."""
    if is_disk_full(error):
        return False
    return explain(error)[1] == 70 or (isinstance(error, OSError) and error.errno is None)


def _damage(values: dict[str, Any]) -> FactoryError | None:
    """A damaged file of a run that the command was given; None where there is none."""
    from exports.storage import Storage
    from factory.runs.damaged import check_files
    from factory.runs.run import RECIPE_LOCK

    for value in values.values():
        try:
            if isinstance(value, str) and Storage(value).exists(RECIPE_LOCK):
                check_files(Storage(value), whole=True)
        except FactoryError as damage:
            return damage
        except Exception:
            continue
    return None


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
    if isinstance(error, ImportError) and (advice := advice_of(error)) is not None:
        return f"error: {advice}", 1
    if is_disk_full(error):
        return f"error: {disk_full(getattr(error, 'filename', None))}", 1
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return (
            f"error: {error.filename or 'the run directory'} cannot be written ({error.strerror}); choose another --out",
            1,
        )
    if isinstance(error, OSError):
        return f"error: {error}", 1
    return f"internal error: {type(error).__name__}: {error}\nThis is a bug; run again with --debug to see where.", 70


def main() -> None:
    """The `factory` command."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _Stop())
    cli()


class _Stop:
    """The first Ctrl-C, or SIGTERM, ends what is going on in order; the second ends the process at once."""

    asked = 0

    def __call__(self, number: int, frame: object) -> None:
        _Stop.asked += 1
        if _Stop.asked == 1:
            raise KeyboardInterrupt
        os.write(2, b"\nstopped at once; what is finished is kept. Run the same command again to go on.\n")
        os._exit(130)
