"""The `factory` command: what its commands share, and where each is found. A command's file is loaded when it is asked for."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
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


SECTIONS: Final = {
    "Begin": {"doctor": "looking_up", "init": "beginning"},
    "Caption": {
        "plan": "running",
        "quote": "quoting",
        "preview": "running",
        "run": "running",
        "status": "running",
        "report": "running",
    },
    "Filter, look and judge": {
        "filter": "filtering",
        "train-quality": "filtering",
        "select": "filtering",
        "review": "reviewing",
        "compare": "reviewing",
        "sample": "reviewing",
        "calibrate": "judging",
        "agree": "judging",
        "evaluate": "judging",
    },
    "Release": {"export": "publishing", "publish": "publishing", "verify": "publishing", "diff": "publishing"},
    "Train, and again": {"mix": "mixing", "train": "training", "loop": "looping", "rounds": "looping"},
    "Look up": {"ls": "listing", "filters": "looking_up", "schema": "looking_up", "completion": "looking_up"},
}
"""The commands in the order of work, each with the file that holds it."""
COMMANDS: Final = {name: file for section in SECTIONS.values() for name, file in section.items()}


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

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the words begin with; a misspelt one is told with what was probably meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else f" There are: {', '.join(COMMANDS)}."
            context.fail(f"No such command '{plain(args[0])}'.{hint}")
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The first sentence of every command, whole, under its part of the work."""
        for title, names in SECTIONS.items():
            with formatter.section(title):
                rows = [(name, _first_sentence(self.get_command(context, name))) for name in names]
                formatter.write_dl([(name.ljust(max(map(len, COMMANDS))), words) for name, words in rows])

    def main(self, args: Sequence[str] | None = None, *more: Any, **settings: Any) -> Any:
        """As click's; where `--json` is asked for, a wrong command line is told as JSON too."""
        words = list(sys.argv[1:] if args is None else args)
        if "--json" not in words or not settings.get("standalone_mode", True):
            return super().main(args, *more, **settings)
        try:
            code = super().main(words, *more, **{**settings, "standalone_mode": False})
        except click.Abort:
            _tell_as_json("stopped", 130)
            sys.exit(130)
        except click.ClickException as error:
            _tell_as_json(f"error: {error.format_message()}", error.exit_code)
            error.show()
            sys.exit(error.exit_code)
        sys.exit(code if isinstance(code, int) else 0)


def _first_sentence(command: click.Command | None) -> str:
    text = " ".join(((command and command.help) or "").partition("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".") + "."


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


def _tell_as_json(text: str, code: int) -> None:
    """What went wrong as one JSON object on stdout, for whoever reads the command's result there."""
    say(json.dumps({"error": text.strip().removeprefix("error: "), "exit_code": code}))


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
                if _Stop.asked and not isinstance(error, FactoryError | OSError):
                    error = KeyboardInterrupt()  # it came amid a compiled module's import, which turned it into this
                if debug or context.obj["debug"]:
                    raise
                text, code = explain(_damage(values) or error if _is_unexplained(error) else error)
                if values.get("as_json"):
                    _tell_as_json(text, code)
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
    if isinstance(error, KeyboardInterrupt):
        return "\nstopped; what is finished is kept. Run the same command again to go on.", 130
    import errno

    from exports.release import ReleaseError
    from filters import FilterError

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
