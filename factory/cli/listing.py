"""The command that lists: ls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import click

from exports.storage import Storage
from factory.cli.app import JSON, command, say

USUAL = ("runs", "datasets", "loops")
DEEPEST = 3


@dataclass(frozen=True)
class Listed:
    """A run, a release or a loop. `rows`: captions kept of a run, rows of a release, rounds of a loop; None where unknown."""

    kind: str
    where: str
    name: str
    state: str
    rows: int | None


@command("ls")
@click.argument("folders", nargs=-1, metavar="[DIR]...")
@JSON
def ls_command(folders: tuple[str, ...], as_json: bool) -> None:
    """List the runs, releases and loops below directories.  [default: runs, datasets, loops]

    \b
    Example:
      factory ls
      factory ls s3://bucket/runs
    """
    found = [one for folder in folders or USUAL for one in _below(Storage(folder), 0)]
    if as_json:
        say(json.dumps([asdict(one) for one in found]))
        return
    if not found:
        say(f"nothing below {', '.join(folders or USUAL)}; begin with: factory init FOLDER")
    width = max((len(one.where) for one in found), default=0)
    for one in found:
        what = {"run": "kept", "release": "rows", "loop": "rounds"}[one.kind]
        say(f"{one.kind:<8} {one.where:<{width}}  {one.state}" + ("" if one.rows is None else f", {one.rows:,} {what}"))


def _below(folder: Storage, depth: int) -> Iterator[Listed]:
    from factory.models.round_model import LEDGER
    from factory.runs.run import RECIPE_LOCK, Run

    names = set(folder.names())
    if RECIPE_LOCK in names:
        yield _run(Run(folder))
    elif "manifest.json" in names:
        yield _release(folder)
    else:
        if LEDGER in names:
            yield _loop(folder, LEDGER)
        if depth < DEEPEST:
            for name in sorted(folder.directories()):
                if not name.startswith("."):
                    yield from _below(folder.child(name), depth + 1)


def _run(run: Any) -> Listed:
    from factory.errors import RunError
    from factory.runs.run import METRICS, RECIPE_LOCK
    from factory.runs.writer_lock import is_locked

    try:
        lock, metrics = run.read_json(RECIPE_LOCK) or {}, run.read_json(METRICS)
    except RunError:
        return Listed("run", run.url, "", "damaged: its files cannot be read", None)
    state = "running" if is_locked(run) else "finished" if metrics else "not finished"
    return Listed("run", run.url, str(lock.get("name", "")), state, (metrics or {}).get("selection", {}).get("kept"))


def _release(folder: Storage) -> Listed:
    try:
        manifest = json.loads(folder.read("manifest.json"))
        name, version, rows = str(manifest.get("name", "")), str(manifest.get("version", "")), manifest.get("rows")
    except (ValueError, AttributeError):
        return Listed("release", folder.url, "", "damaged: its manifest cannot be read", None)
    return Listed("release", folder.url, name, f"{name} {version}", rows if isinstance(rows, int) else None)


def _loop(folder: Storage, file: str) -> Listed:
    name = folder.url.rstrip("/").rsplit("/", 1)[-1]
    try:
        rounds = json.loads(folder.read(file))["rounds"]
        return Listed(
            "loop", folder.url, name, str(rounds[-1]["verdict"]["word"]) if rounds else "no round yet", len(rounds)
        )
    except (ValueError, KeyError, TypeError):
        return Listed("loop", folder.url, name, "damaged: its ledger cannot be read", None)
