"""The straight way of a run: plan, caption (read -> prepare -> caption -> write), score, select, release, report."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from exports.release import ReleaseError, ReleaseResult
from exports.storage import Storage
from factory.answering import answer_and_score
from factory.cluster import actor_resources, engine_count, most_engines, ray_cluster
from factory.errors import RunError
from factory.judges import write_judge_names
from factory.plan import Plan, done_set, make_plan, settle_set_filters
from factory.progress import Progress
from factory.ray_errors import typed_error
from factory.recipe import Recipe, View
from factory.run import CALIBRATIONS, LOCK, RECIPE, Run, RunLock
from factory.scoring import score_missing
from factory.views import EngineGroup

BATCH_IMAGES = 64
BATCHES_PER_TASK = 4  # Ray Data's own limit of what runs at once within one of its tasks
ROWS_PER_TASK = 256


@dataclass
class Outcome:
    """What a run ended with. Times are seconds."""

    run: Run
    plan: Plan
    images: Counter[str] = field(
        default_factory=Counter
    )  # this time: (image, view) pairs and quarantined images by status
    tokens: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    engine_deaths: int = 0
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
        from factory.judge_report import judge_warnings
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


def caption_missing(plan: Plan, outcome: Outcome, progress: Progress) -> None:
    """Caption what is missing. Starts Ray and an engine only where something is.

    Raises:
        EngineError: the engine cannot work at all; its own message.
        SourceError: the source is gone. RunError: the run directory cannot be written.
    """
    if not plan.open_shards:
        return
    started = time.monotonic()
    logs = plan.run.storage.full("logs") if plan.run.storage.is_local else None
    progress.phase("starting the engine")
    with ray_cluster(logs, max(most_engines(group.first.view) for group in plan.groups)) as ray:
        finished = done_set(plan)
        done = ray.put((finished.high, finished.low))
        for group in plan.groups:
            _caption_group(plan, group, done, ray, logs, outcome, progress)
    outcome.seconds["caption"] = time.monotonic() - started


def _caption_group(
    plan: Plan, group: EngineGroup, done: Any, ray: Any, logs: str | None, outcome: Outcome, progress: Progress
) -> None:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from factory.stages import CaptionBatches, ReadShards
    from factory.watch import EngineWatch

    view = group.first.view
    least, most = engine_count(view, ray)
    # On the driver's node: it must outlive the nodes that engines run on.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    watch = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)(EngineWatch).remote()
    read = ReadShards(plan.source, group, plan.run, done)
    resources = actor_resources(view, ray)
    tasks = _tasks_in_engine(view, "num_gpus" in resources)
    shards = _read_tasks(plan)
    reports = (
        ray.data.from_items(shards, override_num_blocks=len(shards))
        .map_batches(read, batch_size=None, batch_format="pyarrow", num_cpus=0.5)
        .map_batches(
            CaptionBatches,
            fn_constructor_kwargs={
                "group": group,
                "run": plan.run,
                "watch": watch,
                "log": logs,
                "filters": plan.asked_at_once,
                "judges": plan.judge_prints(),
            },
            batch_size=BATCH_IMAGES,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(
                min_size=least,
                max_size=most,
                max_tasks_in_flight_per_actor=tasks + 2,
                max_concurrent_calls_per_actor=tasks,
            ),
            zero_copy_batch=True,
            **resources,
        )
    )
    try:
        for batch in reports.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for row in batch.to_pylist():
                outcome.images[row["status"]] += row["rows"]
                outcome.tokens["prompt"] += row["prompt_tokens"]
                outcome.tokens["output"] += row["output_tokens"]
            deaths, words = ray.get(watch.state.remote())
            progress.update(outcome.images, outcome.tokens, outcome.engine_deaths + deaths, words)
    except ray.exceptions.RayError as error:
        raise typed_error(error) from None
    outcome.engine_deaths += ray.get(watch.state.remote())[0]


def _tasks_in_engine(view: View, has_gpu: bool) -> int:
    """Tasks given to an engine at once: four times as many images as it runs together, so that it never waits for one."""
    together = int(view.engine.get("max_num_seqs", 1024 if has_gpu else 256))  # vLLM's defaults
    return max(2, math.ceil(4 * together / (BATCHES_PER_TASK * BATCH_IMAGES)))


def _read_tasks(plan: Plan) -> list[dict[str, str]]:
    """The open shards as JSON, small ones put together: one row per Ray task."""
    tasks: list[list[dict[str, Any]]] = []
    rows = 0
    for work in plan.open_shards:
        count = work.take or work.rows or ROWS_PER_TASK
        if not tasks or rows + count > ROWS_PER_TASK:
            tasks.append([])
            rows = 0
        rows += count
        tasks[-1].append({**asdict(work.shard), "take": work.take})
    return [{"shards": json.dumps(task)} for task in tasks]


def run_recipe(
    recipe: Recipe, recipe_text: str, out: str, limit: int | None = None, fresh: bool = False, quiet: bool = False
) -> Outcome:
    """Execute a recipe: do what is missing, decide, release, report.

    Args:
        recipe: the loaded recipe.
        recipe_text: its resolved YAML, kept in the run.
        out: the run directory, local or any fsspec URL.
        limit: only the first rows of the source.
        fresh: set an older run in this directory aside and start anew.
        quiet: no progress.

    Raises:
        FactoryError: with what to do. What was finished until then is kept, and the next run goes on from there.
    """
    from factory.accounts import image_states
    from factory.lock import write_lock
    from factory.originals import read_missing
    from factory.report.collect import write_report
    from factory.selection import select

    started = time.monotonic()
    run = Run(Storage(out))
    with RunLock(run):
        if fresh:
            set_aside(run)
        plan = make_plan(recipe, run, limit, scratch=run.storage.child("source"))
        outcome = Outcome(run, plan)
        run.storage.write(RECIPE, recipe_text.encode())
        write_lock(plan)
        write_judge_names(run, [judge for scorer in plan.scorers for judge in scorer.judges.values()])
        total = plan.source_rows * len(plan.views) if plan.source_rows is not None else None
        reused = sum(view.reused for view in plan.counts) + plan.quarantined * len(plan.views)
        logs = run.storage.full("logs") if run.storage.is_local else None
        with Progress(None if total is None else max(0, total - reused), quiet) as progress:
            if recipe.original:
                progress.phase("reading texts")
                with _timed(outcome, "read"):
                    read_missing(plan, logs, progress)
            caption_missing(plan, outcome, progress)
            progress.phase("scoring")
            with _timed(outcome, "score"):
                if recipe.views:  # an engine's batches are small; texts are read in large parts
                    run.compact([scorer.name for scorer in plan.scorers])
                settle_set_filters(plan)
                score_missing(plan, logs)
                answer_and_score(plan, logs, progress)
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
    from factory.releasing import release

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
