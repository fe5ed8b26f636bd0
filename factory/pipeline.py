"""The straight way of a run: plan, caption (read -> prepare -> caption -> write), score, select, release, report."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from exports.release import ReleaseError
from exports.storage import Storage
from factory.captioning.caption_missing import ENGINE_START, caption_missing
from factory.captioning.fusion import fuse_missing
from factory.captioning.roll_call import compare_changed
from factory.costs.quoted import quoted
from factory.costs.run_costs import past_costs, remember_costs
from factory.engines.room import EngineRoom
from factory.errors import FactoryError, RunError, disk_full, is_disk_full
from factory.outcome import Outcome, costs_of
from factory.progress import Progress
from factory.recipe import Recipe, recipe_yaml
from factory.repair.repair import repair
from factory.repair.retrying import Retry, forget_unanswered, note_retries
from factory.runs.damaged import check_files
from factory.runs.run import CALIBRATIONS, LOCK, METRICS, PROGRESS, RECIPE, Run
from factory.runs.set_aside import set_damaged_aside
from factory.runs.writer_lock import RunLock
from factory.scoring.score_all import score_all
from factory.sources.pictures import Pictures
from factory.work.judges import write_judge_names
from factory.work.plan import Plan, plan_again, plan_work
from factory.work.pools import note_pools
from factory.work.recipe_of import recipe_of
from factory.work.work import Work, reopen, resolve_work


def run_recipe(
    recipe: Recipe,
    recipe_text: str,
    out: str,
    limit: int | None = None,
    fresh: bool = False,
    quiet: bool = False,
    retry: Sequence[Retry] = (),
    measure: bool = False,
) -> Outcome:
    """Execute a recipe: do what is missing, decide, release, report.

    Args:
        recipe: the loaded recipe.
        recipe_text: its resolved YAML, kept in the run.
        out: the run directory, local or any fsspec URL.
        limit: only the first rows of the source.
        fresh: set an older run in this directory aside and start anew.
        quiet: no progress.
        retry: what is tried once more, although it is done.
        measure: measure the bare engine, if that was never done for such images and lengths, though it takes long beside this run.

    Raises:
        FactoryError: with what to do. What was finished until then is kept, and the next run goes on from there.
    """
    started = time.monotonic()
    run = Run(Storage(out))
    with RunLock(run):
        if fresh:
            set_aside(run)
        damaged = set_damaged_aside(run)
        while True:
            try:
                outcome, refused = _execute(recipe, recipe_text, run, limit, quiet, retry, damaged, started, measure)
                break
            except FactoryError:
                raise
            except (
                Exception
            ) as error:  # nothing that is known: perhaps a damaged page, which costs a reading of the whole run to find
                if is_disk_full(error):
                    raise RunError(disk_full(getattr(error, "filename", None))) from error
                found = set_damaged_aside(run, whole=True)
                if not found:
                    raise
                damaged += found
    if refused is not None:
        raise RunError(f"{refused} ({outcome.report})")
    return outcome


def _execute(
    recipe: Recipe,
    recipe_text: str,
    run: Run,
    limit: int | None,
    quiet: bool,
    retry: Sequence[Retry],
    damaged: list[str],
    started: float,
    measure: bool,
) -> tuple[Outcome, ReleaseError | None]:
    """All phases, under the lock of the run; and why there is no release, where there should be one."""
    from factory.report.collect import write_report
    from factory.selection.select import select
    from factory.work.accounts import image_states
    from factory.work.recipe_lock import write_lock

    work = resolve_work(recipe, run, limit)
    if retry:
        note_retries(recipe, run, retry)
        work = resolve_work(recipe, run, limit)
    plan = plan_work(work, run.storage.child("source"))
    outcome = Outcome(plan.work, damaged=damaged)
    outcome.made.always_measure = measure
    outcome.is_fresh = bool(work.views) and plan.is_untouched and bool(plan.open_shards)
    if "unanswered" in retry:
        forget_unanswered(plan.work)
    run.storage.write(RECIPE, recipe_text.encode())
    write_lock(plan.work)
    write_judge_names(run, [judge for scorer in plan.work.scorers for judge in scorer.judges.values()])
    total = plan.source_rows * len(plan.work.views) if plan.source_rows is not None else None
    reused = sum(view.reused for view in plan.counts) + plan.quarantined * len(plan.work.views)
    total = None if total is None else max(0, total - reused)
    with Progress(total, quiet, partial(_note, run), _usual_seconds(plan.work)) as progress:
        plan = _make(plan, outcome, progress)
        progress.phase("selecting")
        with _timed(outcome, "select"):
            outcome.selection = select(outcome.work)
        outcome.accounts = image_states(plan)
        refused = _release(outcome, plan.pictures, recipe_text, progress) if recipe.release is not None else None
        progress.phase("reporting")
        outcome.seconds["total"] = time.monotonic() - started - outcome.seconds.get("measure", 0.0)
        if outcome.is_fresh:
            outcome.costs = costs_of(outcome)
            outcome.quoted = quoted(outcome.work, outcome.costs)
            remember_costs(outcome.costs)
        outcome.report, outcome.metrics = write_report(outcome)
    return outcome, refused


def _usual_seconds(work: Work) -> dict[str, float]:
    """Of phases that take as long whatever the number of images: the median of this machine's past, where it has one."""
    starts = [one.used["start"] for one in past_costs(work) if one.used.get("start")]
    return {ENGINE_START: statistics.median(starts)} if starts else {}


def _note(run: Run, now: dict[str, Any] | None) -> None:
    """What happens now, for whoever looks at the run from outside (`factory review`)."""
    if now is None:
        run.storage.remove(PROGRESS)
    else:
        run.write_json(PROGRESS, now)


def _make(plan: Plan, outcome: Outcome, progress: Progress) -> Plan:
    """Read, caption, score, repair: what may need Ray and engines, which start once and end with it. Returns the plan as it
    stands afterwards.
    """
    from factory.captioning.originals import read_missing

    work = plan.work
    note_pools(work.run, [*work.views, *(ready for rung in work.rungs for ready in rung.views)])
    with EngineRoom(work.engines, work.logs) as room:
        progress.engines = room.busy
        if work.recipe.original:
            progress.phase("reading texts")
            with _timed(outcome, "read"):
                read_missing(plan, progress, room)
        if plan.doubtful_shards:
            with _timed(outcome, "compare"):
                plan = compare_changed(plan, progress, room)
        if plan.open_shards:
            with _timed(outcome, "caption"):
                caption_missing(plan, outcome.made, progress, room)
            _without_measuring(outcome)
            room.keep(work.engines_after_captions)
        plan = plan_again(plan)
        for ready in plan.work.fusions:
            with _timed(outcome, "fuse"):
                fuse_missing(plan.work, ready, plan.fusions.views[ready.name], outcome.fused, progress, room)
            plan = plan_again(plan)
        assert plan.work.present is not None
        plan.work.present.write(work.run)
        outcome.work = plan.work
        progress.phase("scoring")
        with _timed(outcome, "score"):
            if work.views:  # an engine's batches are small; texts are read in large parts
                work.run.compact([scorer.name for scorer in work.scorers])
            outcome.work = score_all(outcome.work, plan.pictures, progress, room)
        if work.recipe.repair is not None or work.rungs:
            with _timed(outcome, "repair"):
                outcome.work, outcome.repair = repair(outcome.work, plan.pictures, progress, room)
    outcome.starts, outcome.after = room.starts, room.used
    return plan


def _release(outcome: Outcome, pictures: Pictures, recipe_text: str, progress: Progress) -> ReleaseError | None:
    """Build the release. Why it cannot be made is told after the report is written, which shows more."""
    from factory.releasing.release import release

    progress.phase("releasing")
    try:
        with _timed(outcome, "release"):
            counts = outcome.selection | {"images": outcome.accounts}
            outcome.release, outcome.left_out = release(outcome.work, pictures, counts, recipe_text)
    except ReleaseError as error:
        return error
    return None


def _without_measuring(outcome: Outcome) -> None:
    """Measuring the bare engine is no part of captioning."""
    measuring = sum(one.measuring for one in outcome.made.bare)
    if measuring:
        outcome.seconds["measure"] = measuring
        outcome.seconds["caption"] = max(0.0, outcome.seconds["caption"] - measuring)


@contextmanager
def _timed(outcome: Outcome, phase: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    outcome.seconds[phase] = outcome.seconds.get(phase, 0.0) + time.monotonic() - started


def set_aside(run: Run) -> None:
    """Move the tables of an older run to `before-<time>/` in the same directory; calibrations stay. Nothing is deleted."""
    keep = {LOCK, CALIBRATIONS}
    entries = [*run.storage.names(), *run.storage.directories()]
    entries = [name for name in entries if name not in keep and not name.startswith("before-")]
    if not entries:
        return
    aside = f"before-{time.strftime('%Y%m%dT%H%M%S')}"
    run.storage.child(aside).make()
    for name in entries:
        run.storage.move(name, f"{aside}/{name}")


def select_again(run: Run, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Apply other selection rules to a finished run, and draw its report again.

    Returns: `selection` (counts), `before` (captions kept until now), `report` (where it is).

    Raises:
        RecipeError: an override of something else than `select`, or a rule over a filter that the run has no scores of.
        RunError: the run has not finished once, or another process writes to it.
    """
    from factory.report.collect import rewrite_report
    from factory.selection.select import select

    with RunLock(run):
        check_files(run.storage)
        metrics = run.read_json(METRICS)
        if metrics is None:
            raise RunError(f"{run.url}: this run has not finished once; finish it with the command that started it")
        recipe = recipe_of(run, overrides, only=("select",))
        before = run.storage.read(RECIPE)
        run.storage.write(RECIPE, recipe_yaml(recipe).encode())
        try:
            work = reopen(run)
            selection = select(work)
        except BaseException:
            run.storage.write(RECIPE, before)
            raise
        kept = metrics["selection"].get("kept", 0)
        run.write_json(METRICS, metrics | {"selection": selection})
        return {"selection": selection, "before": kept, "report": rewrite_report(run)}
