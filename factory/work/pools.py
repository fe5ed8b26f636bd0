"""Which prompt pools a run's captions were drawn from: only where one changed can a caption be of a prompt no longer drawn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from factory.runs.run import Run
from factory.work.fingerprint import fingerprint
from factory.work.views import ReadyView

POOLS: Final = "pools.json"


def note_pools(run: Run, views: Iterable[ReadyView]) -> None:
    """Keep in the run that captions of these views are drawn from their pools."""
    before: dict[str, list[str]] = run.read_json(POOLS) or {}
    after = {name: list(found) for name, found in before.items()}
    if not before and run.parts("captions"):
        after[UNKNOWN] = []  # made before pools were noted
    for ready in views:
        pools = after.setdefault(_name(ready), [])
        if (pool := _pool(ready)) not in pools:
            pools.append(pool)
    if after != before:
        run.write_json(POOLS, after)


def pools_before(run: Run, views: Iterable[ReadyView]) -> set[tuple[str, int]]:
    """The name and rung of each of these views whose captions may be of other pools than its own."""
    known: dict[str, list[str]] = run.read_json(POOLS) or {UNKNOWN: []}
    return {
        (ready.name, ready.rung)
        for ready in views
        if UNKNOWN in known or set(known.get(_name(ready), ())) - {_pool(ready)}
    }


UNKNOWN: Final = "(unknown)"


def _name(ready: ReadyView) -> str:
    return f"{ready.name} {ready.rung}" if ready.rung else ready.name


def _pool(ready: ReadyView) -> str:
    prompts = [[name, prompt.weight] for name, prompt in zip(ready.view.prompt_ids(), ready.view.prompts, strict=True)]
    return fingerprint("pool", [ready.seed, prompts])
