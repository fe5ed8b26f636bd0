"""The commands of rounds: loop, rounds."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TextIO

import click

from exports.foreign_text import plain
from factory.cli.app import JSON, NOTIFY, SET, command, say


@command("loop")
@click.argument("file", metavar="LOOP.yaml")
@click.option(
    "--rounds", type=click.IntRange(min=0), metavar="N", help="Rounds after the first model.  [default: the file's]"
)
@click.option("--out", metavar="DIR", help="Directory of the loop.  [default: loops/<name>]")
@SET
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be made and what is reused; start nothing.")
@NOTIFY
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
def loop_command(
    file: str,
    rounds: int | None,
    out: str | None,
    overrides: tuple[str, ...],
    only_plan: bool,
    notify: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Caption, release, train, judge, and again with the better model: the rounds of a loop file.

    Run it again after a crash or a Ctrl-C: it goes on where it stopped. A round that is no better than its parent ends the loop.

    \b
    Example:
      factory loop recipes/loops/vila2.yaml --rounds 2
    """
    from factory.notice import Notice
    from factory.rounds.ledger import PAGE, table
    from factory.rounds.loop import LoopRun
    from factory.rounds.loop_file import load_loop

    loop = load_loop(file, overrides)
    quiet = quiet or as_json
    # A handle of its own: while Ray works, what is written to stderr goes to a file.
    with os.fdopen(os.dup(2), "w") as terminal:
        show = (lambda line: None) if quiet else partial(_show, terminal)
        run = LoopRun(loop, Path(out or f"loops/{loop.name}"), show, quiet)
        if only_plan:
            lines = run.plan(rounds)
            say(json.dumps({"plan": lines}) if as_json else "\n".join(lines))
            return
        with Notice("loop", str(run.folder), notify) as notice:
            entries = run.run(rounds)
            notice.result = list(table(entries))
    if as_json:
        say(json.dumps({"loop": str(run.folder), "rounds": entries}))
        return
    say("\n".join(table(entries)))
    say(f"page {run.folder / PAGE}")


def _show(terminal: TextIO, line: str) -> None:
    print(plain(line), file=terminal, flush=True)


@command("rounds")
@click.argument("folder", metavar="DIR")
@JSON
def rounds_command(folder: str, as_json: bool) -> None:
    """Show the ledger of a loop: what every round was made from, what it cost, what it is worth, and the verdict; beside the judge's
    win rates those of people (factory compare DIR#2 DIR#1).

    \b
    Example:
      factory rounds loops/vila2
    """
    from factory.comparison.verdicts import rounds_as_json
    from factory.errors import RunError
    from factory.models.round_model import LEDGER
    from factory.rounds.ledger import PAGE, Ledger, table

    ledger = Ledger(Path(folder))
    entries = ledger.entries()
    if not entries:
        raise RunError(f"{folder}: no loop here (no {LEDGER}); give the directory that `factory loop` wrote")
    if as_json:
        say(json.dumps({"rounds": entries, "people": rounds_as_json(ledger.people())}))
        return
    people = ledger.people()
    if people:  # which came after the page was drawn
        ledger.draw()
    say("\n".join(table(entries, people)))
    say(f"page {Path(folder) / PAGE}")
