"""What a run would do: counts, what is reused, what is done again and why. Starts no Ray and no engine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import polars as pl

import filters
from exports.storage import Storage
from factory.engines.vllm_engine import unknown_engine_arguments
from factory.errors import RecipeError, RunError
from factory.models.resolve import filter_params
from factory.recipe import ORIGINAL, CaptionsSource, Recipe, did_you_mean
from factory.runs import tables
from factory.runs.run import RECIPE, RECIPE_LOCK, DoneSet, Run
from factory.runs.tables import Status
from factory.sources import open_source
from factory.sources.shard_keys import DUPLICATE, key_hashes
from factory.sources.source import ImageSource, Shard, SourceRow
from factory.work.calibrations import load_calibrations
from factory.work.fingerprint import (
    cut_fingerprint,
    filter_fingerprint,
    fingerprint,
    original_fingerprint,
    source_identity,
)
from factory.work.judges import Judge, judges_of
from factory.work.rungs import ReadyRung, rungs_of
from factory.work.views import EngineGroup, ReadyView, engine_groups, ready_views
from filters.asking.questions import SELF, VlmFilter, When
from filters.calibration.calibration import Calibration
from filters.wording.sentences import judges_sentences


@dataclass(frozen=True)
class Scorer:
    """A filter of the recipe with its fingerprint; for a filter of whole sets, of the captions that it sees too."""

    filter: filters.Filter | filters.SetFilter
    fingerprint: str
    alone: str  # fingerprint of the filter alone
    judges: dict[str, Judge] = field(default_factory=dict)  # of a filter that asks: by view

    @property
    def name(self) -> str:
        """The filter's name, which is also its column."""
        return self.filter.name

    @property
    def identity(self) -> str:
        """What a calibration of its scores is bound to: the fingerprint, but for the captions that a set filter sees."""
        return self.alone if isinstance(self.filter, filters.SetFilter) else self.fingerprint


@dataclass(frozen=True)
class ShardWork:
    """A shard with what is known of it. `take` limits the rows read (None: all); `complete` if nothing is left."""

    shard: Shard
    rows: int | None
    take: int | None
    complete: bool


@dataclass(frozen=True)
class ViewPlan:
    """Images of a view: `reused` have captions that still count, `stale` only captions of an older recipe."""

    name: str
    model: str
    reused: int
    stale: int
    failed_before: int
    to_caption: int | None  # None where only reading the source tells


@dataclass(frozen=True)
class FilterPlan:
    """Caption rows with scores that still count, and rows to score (those to be captioned not counted)."""

    name: str
    reused: int
    to_score: int


@dataclass
class Plan:
    """Everything a run needs to know before it starts."""

    recipe: Recipe
    run: Run
    source: ImageSource
    views: list[ReadyView]
    scorers: list[Scorer]
    shards: list[ShardWork]
    limit: int | None
    counts: list[ViewPlan] = field(default_factory=list)
    original_shards: list[ShardWork] = field(default_factory=list)  # for the view `original`, where the recipe has it
    quarantined: int = 0
    filter_counts: list[FilterPlan] = field(default_factory=list)
    rungs: list[ReadyRung] = field(default_factory=list)

    @property
    def groups(self) -> list[EngineGroup]:
        """The engines to start, in order."""
        asked = self.asked_at_once
        return [
            replace(group, questioned=any(ready.name in asked for ready in group.views))
            for group in engine_groups(self.views)
        ]

    @property
    def asked_at_once(self) -> dict[str, tuple[VlmFilter, ...]]:
        """View -> the filters whose questions its captioner answers right after captioning."""
        own = [one.filter for one in self.scorers if isinstance(one.filter, VlmFilter)]
        own = [one for one in own if one.judge == SELF and one.when is None]
        return {ready.name: tuple(own) for ready in self.views} if own else {}

    def judge_prints(self) -> dict[str, str]:
        """View -> the print under which its captioner's own answers are kept."""
        mine = [one.judges for one in self.scorers if isinstance(one.filter, VlmFilter) and one.filter.judge == SELF]
        return {view: judge.print for judges in mine for view, judge in judges.items()}

    @property
    def source_rows(self) -> int | None:
        """Rows of the source (under the limit), None where only reading tells."""
        rows = [work.take if work.take is not None else work.rows for work in self.shards]
        return None if any(count is None for count in rows) else sum(count or 0 for count in rows)

    @property
    def open_shards(self) -> list[ShardWork]:
        """The shards to read."""
        return [work for work in self.shards if not work.complete]

    @property
    def original_print(self) -> str:
        """Fingerprint of the rows of the view `original`."""
        return original_fingerprint(self.recipe)

    @property
    def view_names(self) -> list[str]:
        """All views in the order in which they are preferred; the source's own text comes last."""
        return [*(ready.name for ready in self.views), *([ORIGINAL] if self.recipe.original else [])]

    @property
    def caption_prints(self) -> list[str]:
        """Fingerprints of the captions this recipe makes or reads, with those that repair adds."""
        made = {*self.first_prints, *(one for rung in self.rungs for ready in rung.views for one in ready.prints)}
        return sorted({*made, *(cut_fingerprint(one) for one in made)} if self.recipe.repair else made)

    @property
    def first_prints(self) -> list[str]:
        """Fingerprints of the captions that every image gets."""
        return sorted({*self.view_prints, *self._of_original()})

    @property
    def view_prints(self) -> list[str]:
        """Fingerprints of the captions this recipe makes at the first try."""
        return sorted({one for ready in self.views for one in ready.prints})

    @property
    def quarantine_prints(self) -> list[str]:
        """Fingerprints of the quarantine rows that count under this recipe."""
        return sorted({ready.image_print for ready in self.views} | self._of_original() | {DUPLICATE})

    def _of_original(self) -> set[str]:
        return {self.original_print} if self.recipe.original else set()

    def lines(self) -> list[str]:
        """The plan for a terminal."""
        total = self.source_rows
        lines = [
            f"run: {self.run.url}",
            f"source: {'unknown number of' if total is None else f'{total:,}'} rows in {len(self.shards):,} shards",
        ]
        if self.quarantined:
            lines.append(f"quarantine: {self.quarantined:,} images cannot be used and are skipped")
        for view in self.counts:
            what = "the rows not yet read" if view.to_caption is None else f"{view.to_caption:,}"
            line = f"view {view.name} ({view.model}): {view.reused:,} rows reused, {what} to caption"
            if view.stale:
                line += f"; {view.stale:,} have captions of another prompt, model or setting"
            if view.failed_before:
                line += f"; {view.failed_before:,} failed before and are tried again"
            lines.append(line)
        if self.recipe.original:
            left = [work for work in self.original_shards if not work.complete]
            rows = [work.take if work.take is not None else work.rows for work in left]
            what = "the rows not yet read" if None in rows else f"{sum(count or 0 for count in rows):,}"
            lines.append(f"view {ORIGINAL}: the source's own texts, {what} to read")
        for one in self.filter_counts:
            lines.append(f"filter {one.name}: {one.reused:,} scores reused, {one.to_score:,} captions to score again")
        repair = self.recipe.repair
        if repair is not None:
            tries = f"written again up to {len(self.rungs)} times" if self.rungs else ""
            what = " and ".join(one for one in (tries, "cut" if repair.cut else "") if one)
            lines.append(f"repair: what {repair.by} finds unfaithful is {what}; each try starts the engine again")
        if not self.views:
            lines.append("engines: none")
        elif self.open_shards:
            lines.append(f"engines: {len(self.groups)} model(s) to start, one after the other")
        elif any(scorer.judges for scorer in self.scorers):
            lines.append("engines: none to start for captions, every image is done")
        else:
            lines.append("engines: none to start, every image is done; selection, release and report take seconds")
        return lines

    def summary(self) -> dict[str, Any]:
        """The plan as JSON data."""
        return {
            "run": self.run.url,
            "source_rows": self.source_rows,
            "shards": len(self.shards),
            "shards_to_read": len(self.open_shards),
            "views": [asdict(view) for view in self.counts],
            "originals_to_read": sum(not work.complete for work in self.original_shards),
            "quarantined": self.quarantined,
            "filters": [asdict(one) for one in self.filter_counts],
            "engines": len(self.groups),
        }


def make_plan(recipe: Recipe, run: Run, limit: int | None = None, scratch: Storage | None = None) -> Plan:
    """Validate everything that can be known, list the source, and count what is done.

    Args:
        recipe: a loaded recipe.
        run: its run directory, which need not exist.
        limit: consider only the first rows of the source.
        scratch: where listings are kept; a temporary directory unless the run is to be executed.

    Raises:
        RecipeError: a model, engine argument or filter column that is not there.
        SourceError: the source is missing or empty.
        RunError: the directory belongs to another recipe, or lacks a calibration that the selection names.
    """
    check_owner(run, recipe)
    _check_engine_arguments(recipe)
    _check_images(recipe)
    views = ready_views(recipe)
    scorers = [_scorer(use.name, use.params, recipe, views) for use in recipe.filters]
    _check_conditions(scorers)
    calibrations = load_calibrations(run, recipe, {scorer.name: scorer.identity for scorer in scorers})
    _check_cut(recipe, scorers, calibrations)
    with tempfile.TemporaryDirectory(prefix="caption-factory-") as folder:
        source = open_source(recipe, scratch or Storage(folder))
        plan = Plan(recipe, run, source, views, scorers, [], limit, rungs=rungs_of(recipe, run, views))
        settle_set_filters(plan)
        _count_done(plan)
    return plan


def reopen(run: Run) -> Plan:
    """The plan of a finished or interrupted run from its own files, without its source. For reading its tables only."""
    from factory.recipe import parse_recipe
    from factory.recipe.yaml_text import parse_yaml

    lock = run.read_json(RECIPE_LOCK)
    text = parse_yaml(run.storage.read(RECIPE).decode(), run.storage.full(RECIPE))
    for view in text.data.get("views") or ():
        revision = lock["views"].get(view["name"], {}).get("revision", "")
        if len(revision) == 40:
            view["revision"] = revision  # as it was, also when the Hub cannot be reached
    recipe = parse_recipe(text)
    views = ready_views(recipe)
    scorers = [_scorer(use.name, use.params, recipe, views) for use in recipe.filters]
    plan = Plan(recipe, run, NoSource(), views, scorers, [], lock.get("limit"), rungs=rungs_of(recipe, run, views))
    settle_set_filters(plan)
    return plan


class NoSource:
    """Stands for a source that is not looked at."""

    def shards(self) -> Iterator[Shard]:
        """No shards."""
        return iter(())

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """No rows."""
        return iter(())


def check_owner(run: Run, recipe: Recipe) -> None:
    """A run directory belongs to one recipe name and one source. Raises RunError for another's."""
    lock = run.read_json(RECIPE_LOCK)
    if lock is None:
        return
    if lock["name"] != recipe.name:
        raise RunError(
            f"{run.url}: holds the run of recipe '{lock['name']}', not '{recipe.name}'; choose another --out, or --fresh to set it aside"
        )
    if lock["source"] != source_identity(recipe):
        raise RunError(
            f"{run.url}: holds captions of another source ({lock['source']}); choose another --out or recipe name, "
            "or --fresh to set it aside"
        )


def _check_engine_arguments(recipe: Recipe) -> None:
    problems = []
    for place, view in enumerate(recipe.views):
        for name, hint in unknown_engine_arguments(list(view.engine)).items():
            problems.append(f"views.{place}.engine.{name}: vLLM has no such argument{hint}")
    if problems:
        raise RecipeError(problems)


def _check_images(recipe: Recipe) -> None:
    if not isinstance(recipe.source, CaptionsSource):
        return
    wanting = [
        use.name
        for use in recipe.filters
        if {"image", "answers"} & {*filters.build(use.name, filter_params(use.params)).needs}
    ]
    if wanting:
        raise RecipeError([f"filters: {', '.join(wanting)} look at the image, and a source of captions has none"])


def _scorer(name: str, params: dict[str, Any], recipe: Recipe, views: list[ReadyView]) -> Scorer:
    built = filters.build(name, filter_params(params))
    given = {*tables.CAPTIONS, "image", "answers"}
    missing = [column for column in built.needs if column not in given]
    if missing:
        raise RecipeError([f"filters.{name}: needs the column {', '.join(missing)}, which captions do not have"])
    alone = filter_fingerprint(built)
    if not isinstance(built, VlmFilter):
        return Scorer(built, alone, alone)
    judges = judges_of(built, recipe, views)
    prints = {view: judge.print for view, judge in judges.items()}
    return Scorer(built, fingerprint("asked", [alone, prints]), alone, judges)


def _check_conditions(scorers: list[Scorer]) -> None:
    """A condition is about a filter that has its scores by then: one that asks nobody, or comes before."""
    problems = []
    for place, scorer in enumerate(scorers):
        if not isinstance(scorer.filter, VlmFilter) or scorer.filter.when is None:
            continue
        known = [one.name for at, one in enumerate(scorers) if at < place or not isinstance(one.filter, VlmFilter)]
        about = When.parse(scorer.filter.when).filter
        if about not in known:
            problems.append(
                f"filters.{scorer.name}.when: no filter '{about}' has scores by then{did_you_mean(about, known, every=True)}; "
                "name it before this one"
            )
    if problems:
        raise RecipeError(problems)


def _check_cut(recipe: Recipe, scorers: list[Scorer], calibrations: dict[str, Calibration]) -> None:
    """Sentences are cut by what judges sentences."""
    if recipe.repair is None or not recipe.repair.cut:
        return
    by = recipe.repair.by
    if by in calibrations and calibrations[by].unit != "sentence":
        raise RecipeError(
            [f"repair.cut: {by} is about whole captions; calibrate sentences (labels with `start`, or --truth demo)"]
        )
    able = [one.name for one in scorers if judges_sentences(one.filter)]
    if by not in calibrations and by not in able:
        raise RecipeError(
            [
                f"repair.cut: {by} does not judge sentences by themselves; choose one that does ({', '.join(able) or 'none here'})"
            ]
        )


def settle_set_filters(plan: Plan) -> None:
    """Fingerprint the filters of whole sets with the captions that the run holds now."""
    seen = [plan.run.parts("captions"), plan.caption_prints]
    plan.scorers = [
        replace(scorer, fingerprint=fingerprint("set", [scorer.alone, *seen]))
        if isinstance(scorer.filter, filters.SetFilter)
        else scorer
        for scorer in plan.scorers
    ]


# --- counting what is done ---------------------------------------------------------------------------------------------


def _count_done(plan: Plan) -> None:
    images = finished_images(plan).collect()
    refused = plan.run.quarantine(plan.quarantine_prints).select("shard", "image_key", "fingerprint").unique().collect()
    plan.quarantined = refused.select("shard", "image_key").unique().height
    plan.shards = list(_shard_work(plan, images, refused))
    if plan.recipe.original:
        plan.original_shards = list(_original_work(plan))
    total = plan.source_rows
    made = plan.run.scan("captions", tables.CAPTIONS).filter(pl.col("view") != ORIGINAL)
    any_print = made.select("image_key", "view").unique().collect()
    for ready in plan.views:
        mine = images.filter(pl.col("view") == ready.name)
        done = mine.filter(~pl.col("failed"))["image_key"].n_unique()
        ever = any_print.filter(pl.col("view") == ready.name)
        stale = ever.join(mine, on="image_key", how="anti").height
        blocked = refused.filter(pl.col("fingerprint").is_in([ready.image_print, DUPLICATE])).height
        to_caption = None if total is None else max(0, total - done - blocked)
        failed = mine.filter(pl.col("failed")).height
        plan.counts.append(ViewPlan(ready.name, ready.view.model, done, stale, failed, to_caption))
    for scorer in plan.scorers:
        missing = plan.run.unscored(scorer.name, scorer.fingerprint)
        to_score = _rows(plan.run, missing)
        plan.filter_counts.append(
            FilterPlan(scorer.name, _rows(plan.run, plan.run.parts("captions")) - to_score, to_score)
        )


def finished_images(plan: Plan, prints: list[str] | None = None) -> pl.LazyFrame:
    """(shard, image_key, view, fingerprint, failed) of every image and view with captions of these fingerprints; of those
    of the first try, if unset.

    `failed` is true while any of its candidates has failed: it will be tried again.
    """
    rows = plan.run.captions(plan.view_prints if prints is None else prints)
    keys = ["shard", "image_key", "view", "fingerprint"]
    return rows.group_by(keys).agg((pl.col("status") == Status.failed).any().alias("failed"))


def done_set(plan: Plan, views: list[ReadyView] | None = None) -> DoneSet:
    """What need not be read again: captioned (image, view, fingerprint), and quarantined images under view ''.

    Of these views; of the recipe's own, if unset.
    """
    prints = plan.view_prints if views is None else sorted({one for ready in views for one in ready.prints})

    def frames() -> Iterator[pl.DataFrame]:
        done = finished_images(plan, prints).filter(~pl.col("failed"))
        yield done.select("image_key", "view", "fingerprint").collect()
        refused = plan.run.quarantine(plan.quarantine_prints).with_columns(pl.lit("").alias("view"))
        yield refused.select("image_key", "view", "fingerprint").collect()

    return DoneSet.of(frames())


def _shard_work(plan: Plan, images: pl.DataFrame, refused: pl.DataFrame) -> Iterator[ShardWork]:
    """The source's shards; one is complete when the keys done in it are exactly the keys it was read with."""
    read = {row["shard"]: row for row in plan.run.shards().iter_rows(named=True)}
    sums = _done_sums(plan, images, refused) if read else {}
    left = plan.limit
    for shard in plan.source.shards():
        known = read.get(shard.name)
        same = known is not None and known["stat"] == shard.stat
        rows = shard.rows if shard.rows is not None else (known["rows"] if known and same else None)
        complete = not plan.views or bool(
            known
            and same
            and (shard.rows is None or shard.rows == known["rows"])
            and sums.get(shard.name) == (known["rows"] - known["duplicates"], known["key_sum"])
        )
        if left is None:
            yield ShardWork(shard, rows, None, complete)
            continue
        if left <= 0:
            return
        if rows is None:
            rows = sum(1 for _ in zip(range(left), plan.source.read(shard, 1), strict=False))
        take = min(left, rows)
        left -= take
        yield ShardWork(shard, rows, None if take == rows and complete else take, complete and take == rows)


def _original_work(plan: Plan) -> Iterator[ShardWork]:
    """The shards with what is left of them to read for the view `original`."""
    read = {row["shard"]: row for row in plan.run.originals(plan.original_print).iter_rows(named=True)}
    for work in plan.shards:
        known = read.get(work.shard.name)
        same = known is not None and known["stat"] == work.shard.stat
        rows = (
            work.rows if work.rows is not None or not same else known["rows"] if known and not known["take"] else None
        )
        yield replace(work, rows=rows, complete=bool(known and same and known["take"] in (None, work.take)))


def _done_sums(plan: Plan, images: pl.DataFrame, refused: pl.DataFrame) -> dict[str, tuple[int, int]]:
    """Per shard: how many keys are done in every view or quarantined for it, and the sum of their hashes."""
    per_view = []
    for ready in plan.views:
        captioned = images.filter((pl.col("view") == ready.name) & ~pl.col("failed")).select("shard", "image_key")
        blocked = refused.filter(pl.col("fingerprint") == ready.image_print).select("shard", "image_key")
        per_view.append(pl.concat([captioned, blocked]).unique())
    done = per_view[0]
    for other in per_view[1:]:
        done = done.join(other, on=["shard", "image_key"], how="semi")
    hashed = done.with_columns(key_hashes(done["image_key"]).alias("hash"))
    sums: dict[str, tuple[int, int]] = {}
    for (shard,), group in hashed.group_by("shard"):
        sums[str(shard)] = (group.height, sum(group["hash"].to_list()) % 2**64)
    return sums


def _rows(run: Run, parts: list[str]) -> int:
    if not parts:
        return 0
    return int(run.storage.scan([f"captions/{part}.parquet" for part in parts]).select(pl.len()).collect().item())
