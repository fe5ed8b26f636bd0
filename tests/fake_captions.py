"""A run of any source whose images are captioned without an engine: what is missing is read as in a real run, and the texts are
made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import polars as pl
import pyarrow as pa

from exports.storage import Storage
from factory.captioning.fusion import Inputs, gathered_inputs, with_stand_ins
from factory.captioning.originals import read_missing
from factory.captioning.roll_call import compare_changed
from factory.captioning.stages import ReadAgain, ReadShards, _quarantine_frame
from factory.engines.room import EngineRoom
from factory.outcome import Outcome
from factory.pipeline import run_recipe
from factory.progress import Progress
from factory.recipe import Recipe, recipe_yaml
from factory.repair.faithful import Judgement
from factory.repair.repair import to_try_again
from factory.runs import tables
from factory.runs.done_set import DoneSet
from factory.runs.run import Run
from factory.scoring.score_all import score_all
from factory.sources.shard_keys import text_hash
from factory.work.plan import Plan, make_plan, plan_again
from factory.work.pools import note_pools
from factory.work.prompts import fill_inputs
from factory.work.rungs import ReadyRung
from factory.work.views import EngineGroup, ReadyView, engine_groups

Say = Callable[[ReadyView, str, int], str]
"""The caption of an image, by view, key and candidate."""


def a_picture(ready: ReadyView, key: str, candidate: int) -> str:
    return (
        f"A picture named {key}, seen by {ready.name} as number {candidate} for the prompt {ready.choices([key])[0]}."
    )


def run_fake(raw: dict[str, Any], out: str, limit: int | None = None, say: Say = a_picture) -> tuple[Outcome, int]:
    """`factory run` of a recipe; what it ended with, and how many (image, view) pairs were captioned."""
    recipe = Recipe.model_validate(raw)
    run = Run(Storage(out))
    with Progress(None, True) as progress:
        plan = make_plan(recipe, run, limit, run.storage.child("source"))
        with EngineRoom(plan.work.engines, plan.work.logs) as room:
            plan = compare_changed(plan, progress, room)
    made = caption_open(plan, say)
    plan = plan_again(plan)
    assert not plan.open_shards
    made += fuse_open(plan, say)
    made += sum(caption_again(plan, rung, say) for rung in plan.work.rungs)
    return run_recipe(recipe, recipe_yaml(recipe), out, limit, quiet=True), made


def fuse_open(plan: Plan, say: Say = a_picture) -> int:
    """Fuse what a plan finds missing, with what `say` says. Returns how many (image, view) pairs."""
    work, pairs = plan.work, 0
    if work.fusions and work.recipe.original:
        with Progress(None, True) as progress, EngineRoom((), None) as room:
            read_missing(plan, progress, room)
    for ready in work.fusions:
        plan = plan_again(plan)
        for rows in gathered_inputs(plan.work, ready, plan.fusions.views[ready.name]):
            items = [Inputs.of(row, ready) for row in rows.to_dicts()]
            known = [(item, item.without_engine(ready)) for item in items]
            fused = [item for item, row in known if row is None]
            made = with_stand_ins(ready, fused, [row for item in fused for row in fused_rows(ready, item, say)])
            made += [row for _, row in known if row is not None]
            work.run.append("captions", pl.DataFrame(made, schema=tables.CAPTIONS, orient="row"))
            pairs += len(items)
    return pairs


def fused_rows(ready: ReadyView, item: Inputs, say: Say) -> list[dict[str, Any]]:
    """The rows of tables.CAPTIONS of a fusion that an engine made."""
    place = ready.choices([item.key])[0]
    filled = fill_inputs(ready.view.prompts[place].text, item.texts, ())
    assert filled is not None
    prompt, _ = filled
    empty = dict.fromkeys(tables.CAPTIONS) | item.row(ready, place) | {"status": "ok", "prompt": prompt}
    return [
        empty | {"candidate": candidate, "text": say(ready, item.key, candidate), "output_tokens": 9, "created_ms": 1}
        for candidate in range(ready.view.sampling.n)
    ]


def plan_of(raw: dict[str, Any], out: str, limit: int | None = None) -> Plan:
    """`factory plan` of a recipe."""
    return make_plan(Recipe.model_validate(raw), Run(Storage(out)), limit)


def caption_again(plan: Plan, rung: ReadyRung, say: Say = a_picture) -> int:
    """Caption what a rung of the ladder is for. Returns how many (image, view) pairs."""
    work, pairs = plan.work, 0
    with Progress(None, True) as progress, EngineRoom(work.engines, work.logs) as room:
        work = score_all(work, plan.pictures, progress, room)
    keys, shards = to_try_again(work, plan.pictures, rung, Judgement.of(work) if work.recipe.repair else None)
    for group in engine_groups(list(rung.views)):
        read = ReadAgain(plan.source, group, work.run, None, work.reading, DoneSet.of(iter(keys)))
        for listed in shards:
            pairs += _caption(work.run, group, read._read(listed.shard, listed.take, plan.finished.done), say)
    return pairs


def caption_open(plan: Plan, say: Say = a_picture) -> int:
    """Caption what a plan finds missing. Returns how many (image, view) pairs."""
    run, pairs = plan.work.run, 0
    run.storage.make()
    note_pools(run, plan.work.views)
    for group in plan.work.groups:
        read = ReadShards(plan.source, group, run, None, plan.work.reading)
        for listed in plan.open_shards:
            pairs += _caption(run, group, read._read(listed.shard, listed.take, plan.finished.done), say)
    return pairs


def _caption(run: Run, group: EngineGroup, tables_of_rows: Iterable[pa.Table], say: Say) -> int:
    pairs = 0
    for table in tables_of_rows:
        rows = table.to_pylist()
        run.append("quarantine", _quarantine_frame(rows))
        made = [
            caption_row(group.views[view], row, candidate, say)
            for row in rows
            if row["rgb"] is not None
            for view in row["views"]
            for candidate in range(group.views[view].view.sampling.n)
        ]
        run.append("captions", pl.DataFrame(made, schema=tables.CAPTIONS))
        pairs += sum(len(row["views"]) for row in rows if row["rgb"] is not None)
    return pairs


def caption_row(ready: ReadyView, row: dict[str, Any], candidate: int, say: Say) -> dict[str, Any]:
    """The row of tables.CAPTIONS of an image that was read."""
    place = ready.choices([row["image_key"]])[0]
    text = say(ready, row["image_key"], candidate)
    prompt = ready.view.prompts[place].text
    return dict.fromkeys(tables.CAPTIONS) | {
        "image_key": row["image_key"],
        "shard": row["shard"],
        "view": ready.name,
        "candidate": ready.first_candidate + candidate,
        "fingerprint": ready.fingerprints[place],
        "status": "ok",
        "text": text,
        "finish_reason": "stop",
        "prompt_id": ready.view.prompt_ids()[place],
        "prompt": prompt,
        "original_hash": text_hash(row["text"]) if ready.asks_original(place) else None,
        "prompt_tokens": 40,
        "output_tokens": len(text.split()),
        "max_tokens": ready.view.sampling.max_tokens,
        "mean_logprob": -0.5,
        "min_logprob": -1.0,
        "seed": 1,
        "model": ready.view.model_name,
        "model_revision": ready.model.revision,
        "template_sha256": "0" * 64,
        "width": row["width"],
        "height": row["height"],
        "source_width": row["source_width"],
        "source_height": row["source_height"],
        "source_format": row["source_format"],
        "image_sha256": row["sha256"],
        "engine": "none",
        "created_ms": 1,
    }
