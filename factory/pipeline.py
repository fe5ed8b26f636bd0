"""The straight way of a run: plan, caption (read -> prepare -> caption -> write), score, select, release, report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from exports.release import ReleaseError, ReleaseResult
from exports.storage import Storage
from factory.captioning.caption_missing import Made, caption_missing, logs_of
from factory.errors import RunError
from factory.judging.answering import score_all
from factory.progress import Progress
from factory.recipe import Recipe
from factory.repair.repair import RepairCounts, repair
from factory.repair.retrying import Retry, retry_rows
from factory.runs.run import CALIBRATIONS, LOCK, RECIPE, Run, RunLock
from factory.work.judges import write_judge_names
from factory.work.plan import Plan, make_plan


@dataclass
class Outcome:
    """What a run ended with. Times are seconds."""

    run: Run
    plan: Plan
    made: Made = field(default_factory=Made)  # this time
    seconds: dict[str, float] = field(default_factory=dict)
    repair: RepairCounts | None = None
    selection: dict[str, Any] = field(default_factory=dict)
    release: ReleaseResult | None = None
    left_out: dict[str, int] = field(default_factory=dict)  # images not released as selected, by reason
    accounts: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    report: str = ""

    def summary(self) -> dict[str, Any]:
        """As JSON data."""
        return {"run": self.run.url, "report": self.report, **self.metrics}

    def lines(self) -> list[str]:
        """The last lines of a run on a terminal."""
        from factory.judging.judge_report import judge_warnings
        from factory.report.collect import LEFT_OUT

        states = [f"{number:,} {state}" for state, number in self.accounts.items() if number and state != "source_rows"]
        dropped = [f"{number:,} {reason}" for reason, number in list(self.selection["dropped"].items())[:4]]
        made, rows = ("made", "images  ") if self.plan.views else ("read", "rows    ")
        lines = [
            f"{rows} {self.accounts['source_rows']:,} in the source: {', '.join(states)}",
            f"captions {self.selection['captions']:,} {made}, {self.selection['kept']:,} kept"
            + (f"; dropped: {', '.join(dropped)}" if dropped else ""),
        ]
        now = self.metrics["this_time"]
        if not self.plan.views:
            lines.append(f"time     {now['seconds']['total']:,.1f} s")
        elif now["images_per_s"]:
            lines.append(
                f"time     {now['seconds']['total']:,.0f} s, {now['seconds']['caption']:,.0f} s of it captioning with the engine's start, "
                f"{now['images_per_s']:,} images/s, {now['output_tokens']:,} tokens"
            )
        if self.repair is not None:
            lines += [f"repair   {line}" for line in self.repair.lines()]
        if self.release is not None:
            lines.append(
                f"release  {self.release.url} ({self.release.rows:,} images{'' if self.release.is_new else ', unchanged'})"
            )
        lines += [f"         {number:,} {LEFT_OUT[reason]}" for reason, number in self.left_out.items()]
        lines.append(f"report   {self.report}")
        judges = self.metrics.get("judges", [])
        lines += [judge["line"] for judge in judges]
        lines += [f"warning  {warning}" for warning in [*self.selection.get("warnings", []), *judge_warnings(judges)]]
        if self.accounts.get("failed"):
            lines.append(f"failed   {self.accounts['failed']:,} images; run again to retry them")
        truth = self.metrics.get("truth")
        if truth:
            shares = {
                name: f"{part['correct'] / max(1, part['sentences']):.1%} of {part['sentences']:,}"
                for name, part in truth.items()
            }
            lines.append(f"truth    correct sentences before selection: {shares['before']}; after: {shares['after']}")
        return lines


def run_recipe(
    recipe: Recipe,
    recipe_text: str,
    out: str,
    limit: int | None = None,
    fresh: bool = False,
    quiet: bool = False,
    retry: Sequence[Retry] = (),
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

    Raises:
        FactoryError: with what to do. What was finished until then is kept, and the next run goes on from there.
    """
    from factory.captioning.originals import read_missing
    from factory.report.collect import write_report
    from factory.selection.select import select
    from factory.work.accounts import image_states
    from factory.work.recipe_lock import write_lock

    started = time.monotonic()
    run = Run(Storage(out))
    with RunLock(run):
        if fresh:
            set_aside(run)
        plan = make_plan(recipe, run, limit, scratch=run.storage.child("source"))
        retry_rows(plan, retry)
        outcome = Outcome(run, plan)
        run.storage.write(RECIPE, recipe_text.encode())
        write_lock(plan)
        write_judge_names(run, [judge for scorer in plan.scorers for judge in scorer.judges.values()])
        total = plan.source_rows * len(plan.views) if plan.source_rows is not None else None
        reused = sum(view.reused for view in plan.counts) + plan.quarantined * len(plan.views)
        with Progress(None if total is None else max(0, total - reused), quiet) as progress:
            if recipe.original:
                progress.phase("reading texts")
                with _timed(outcome, "read"):
                    read_missing(plan, logs_of(plan), progress)
            if plan.open_shards:
                with _timed(outcome, "caption"):
                    caption_missing(plan, outcome.made, progress)
            progress.phase("scoring")
            with _timed(outcome, "score"):
                if recipe.views:  # an engine's batches are small; texts are read in large parts
                    run.compact([scorer.name for scorer in plan.scorers])
                score_all(plan, logs_of(plan), progress)
            if recipe.repair is not None or plan.rungs:
                with _timed(outcome, "repair"):
                    outcome.repair = repair(plan, progress)
            progress.phase("selecting")
            with _timed(outcome, "select"):
                outcome.selection = select(plan)
            outcome.accounts = image_states(plan)
            refused = _release(outcome, recipe_text, progress) if recipe.release is not None else None
            progress.phase("reporting")
            outcome.seconds["total"] = time.monotonic() - started
            outcome.report, outcome.metrics = write_report(plan, outcome)
    if refused is not None:
        raise RunError(f"{refused} ({outcome.report})")
    return outcome


def _release(outcome: Outcome, recipe_text: str, progress: Progress) -> ReleaseError | None:
    """Build the release. Why it cannot be made is told after the report is written, which shows more."""
    from factory.releasing.release import release

    progress.phase("releasing")
    try:
        with _timed(outcome, "release"):
            counts = outcome.selection | {"images": outcome.accounts}
            outcome.release, outcome.left_out = release(outcome.plan, counts, recipe_text)
    except ReleaseError as error:
        return error
    return None


@contextmanager
def _timed(outcome: Outcome, phase: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    outcome.seconds[phase] = time.monotonic() - started


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
