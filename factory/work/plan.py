"""What is missing of a recipe's work: counts, what is reused, what is done again and why. Starts no Ray and no engine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from exports.storage import Storage
from factory.recipe import ORIGINAL, CaptionsSource, Recipe
from factory.runs.damaged import check_files
from factory.runs.hash_sets import distinct, is_among
from factory.runs.run import Run
from factory.runs.tables import ExpertState
from factory.sources import open_source
from factory.sources.kept import KeptRows
from factory.sources.pictures import Pictures
from factory.sources.source import ImageSource, ListedShard, Shard
from factory.work.done import Finished, finished
from factory.work.engine_needs import EngineNeed, engine_needs
from factory.work.experts import ExpertPlan
from factory.work.fusions import FusionBooks, fusion_books
from factory.work.present import no_numbers
from factory.work.roll import Held, Roll
from factory.work.work import Work, resolve_work

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRIES: Final = 4
"""Times that the tables of a run which is going on are looked at before a file that vanished is an error."""


@dataclass(frozen=True)
class ViewPlan:
    """Images of a view: `reused` have captions that still count, `stale` only captions of another recipe, bytes or text."""

    name: str
    model: str
    reused: int
    stale: int
    failed_before: int
    to_caption: int | None  # None where only reading the source tells
    made_from: tuple[str, ...] = ()  # of a fusion


@dataclass(frozen=True)
class FilterPlan:
    """Caption rows with scores that still count, and rows to score (those to be captioned not counted)."""

    name: str
    reused: int
    to_score: int


@dataclass(frozen=True, repr=False)
class Plan:
    """A work beside its source: which shards there are, and how much of them is done. Printed, it is its lines."""

    work: Work  # `present` as far as it is known
    source: ImageSource
    shards: tuple[ListedShard, ...]
    original_shards: tuple[ListedShard, ...]  # for the view `original`, where the recipe has it
    counts: tuple[ViewPlan, ...]
    quarantined: int
    filter_counts: tuple[FilterPlan, ...]
    expert_counts: tuple[ExpertPlan, ...]
    finished: Finished
    fusions: FusionBooks
    roll: Roll
    held: Held
    gone: int  # images with captions that are not in the source, or beyond the limit, as far as that is known
    to_compare: int  # rows of shards that were read before and look otherwise now, or are to be compared every time

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    @property
    def pictures(self) -> Pictures:
        """The images of the source, by key."""
        return Pictures(self.source, self.shards)

    @property
    def source_rows(self) -> int | None:
        """Rows of the source (under the limit), None where only reading tells."""
        rows = [listed.take if listed.take is not None else listed.rows for listed in self.shards]
        return None if any(count is None for count in rows) else sum(count or 0 for count in rows)

    @property
    def open_shards(self) -> list[ListedShard]:
        """The shards to read."""
        return [listed for listed in self.shards if not listed.complete]

    @property
    def doubtful_shards(self) -> list[ListedShard]:
        """Of the open shards those that may hold nothing new: they were read before, and look otherwise now."""
        return [listed for listed in self.open_shards if self.roll.is_doubtful(listed.shard.name)]

    def lines(self) -> list[str]:
        """The plan for a terminal."""
        total = self.source_rows
        lines = [
            f"run: {self.work.run.url}",
            f"source: {'unknown number of' if total is None else f'{total:,}'} rows in {len(self.shards):,} shards",
        ]
        if self.gone:
            beyond = " or beyond --limit" if self.work.limit is not None else ""
            lines.append(f"gone: {self.gone:,} images with captions are not in the source{beyond}; they do not count")
        if self.to_compare:
            lines.append(
                f"changed: {self.to_compare:,} rows are read again and compared; those with other bytes, or another text under "
                "{original}, are captioned again"
            )
        if self.quarantined:
            lines.append(f"quarantine: {self.quarantined:,} images cannot be used and are skipped")
        lines += [one.line() for one in self.expert_counts]
        for view in self.counts:
            what = "the rows not yet read" if view.to_caption is None else f"{view.to_caption:,}"
            to_do = f"to make from {', '.join(view.made_from)}" if view.made_from else "to caption"
            line = f"view {view.name} ({view.model}): {view.reused:,} rows reused, {what} {to_do}"
            if view.stale:
                other = "caption" if view.made_from else "text or image"
                line += f"; {view.stale:,} have captions of another prompt, model, setting, {other}"
            if view.failed_before:
                line += f"; {view.failed_before:,} failed before and are tried again"
            lines.append(line)
        if self.work.recipe.original:
            left = [listed for listed in self.original_shards if not listed.complete]
            rows = [listed.take if listed.take is not None else listed.rows for listed in left]
            what = "the rows not yet read" if None in rows else f"{sum(count or 0 for count in rows):,}"
            lines.append(f"view {ORIGINAL}: the source's own texts, {what} to read")
        for one in self.filter_counts:
            lines.append(f"filter {one.name}: {one.reused:,} scores reused, {one.to_score:,} captions to score again")
        repair = self.work.recipe.repair
        if repair is not None:
            tries = f"written again up to {len(self.work.rungs)} times" if self.work.rungs else ""
            what = " and ".join(one for one in (tries, "cut" if repair.cut else "") if one)
            lines.append(
                f"repair: what {repair.by} finds unfaithful is {what}; captions of earlier tries stay candidates"
            )
        if getattr(self.work.recipe.source, "detect", None) == "stat" and self.work.seeing:
            lines.append(
                "source: a file is read again when its size, time or tag has changed (source.detect: bytes compares all of them)"
            )
        needs = self.engine_needs
        if self.open_shards and len(self.doubtful_shards) == len(self.open_shards) and self.work.views:
            lines.append("engines: none to start unless a changed file holds something new")
        elif needs:
            lines += [need.line() for need in needs]
        elif not self.work.views:
            lines.append("engines: none")
        else:
            lines.append("engines: none to start, every image is done; selection, release and report take seconds")
        return lines

    @property
    def is_untouched(self) -> bool:
        """Whether nothing is done yet, so that there is something to caption."""
        return not self.quarantined and not any(view.reused or view.failed_before for view in self.counts)

    @property
    def engine_needs(self) -> list[EngineNeed]:
        """The engines that will start, in order of need."""
        to_caption = [
            view.name for view in self.counts if view.to_caption != 0 and (self.open_shards or view.made_from)
        ]
        return engine_needs(self.work, to_caption, [one.name for one in self.filter_counts if one.to_score])

    def summary(self) -> dict[str, Any]:
        """The plan as JSON data."""
        return {
            "run": self.work.run.url,
            "source_rows": self.source_rows,
            "shards": len(self.shards),
            "shards_to_read": len(self.open_shards),
            "gone": self.gone,
            "to_compare": self.to_compare,
            "views": [asdict(view) for view in self.counts],
            "originals_to_read": sum(not listed.complete for listed in self.original_shards),
            "experts": [asdict(one) for one in self.expert_counts],
            "quarantined": self.quarantined,
            "filters": [asdict(one) for one in self.filter_counts],
            "engines": [need.as_json() for need in self.engine_needs],
        }


def make_plan(recipe: Recipe, run: Run, limit: int | None = None, scratch: Storage | None = None) -> Plan:
    """Resolve a recipe's work, list its source, and count what is done.

    Args:
        recipe: a loaded recipe.
        run: its run directory, which need not exist.
        limit: consider only the first rows of the source.
        scratch: where listings are kept; a temporary directory unless the run is to be executed.

    Raises:
        RecipeError, RunError: as of `resolve_work`, and RunError where a file of the run is damaged.
        SourceError: the source is missing or empty.
    """
    check_files(run.storage)
    for _ in range(TRIES - 1):
        try:
            return plan_work(resolve_work(recipe, run, limit), scratch)
        except FileNotFoundError:  # a run that is going on has merged some parts meanwhile
            continue
    return plan_work(resolve_work(recipe, run, limit), scratch)


def plan_work(work: Work, scratch: Storage | None = None) -> Plan:
    """List the source of a work and count what is done. Raises SourceError: the source is missing or empty."""
    with tempfile.TemporaryDirectory(prefix="caption-factory-") as folder:
        source = open_source(work.recipe, scratch or Storage(folder))
        if not isinstance(work.recipe.source, CaptionsSource):
            source = KeptRows(source)
        return _counted(work, source, tuple(source.shards()))


def plan_again(plan: Plan, compared: bool = True) -> Plan:
    """The plan after some of it was done. The source is not listed again; `compared`: changed shards have been read."""
    return _counted(plan.work, plan.source, tuple(listed.shard for listed in plan.shards), compared)


def _counted(work: Work, source: ImageSource, shards: Sequence[Shard], compared: bool = False) -> Plan:
    always = getattr(work.recipe.source, "detect", None) == "bytes" and not compared
    roll = Roll.of(work.run, shards, work.reading, source, always)
    books = finished(work, work.seeing, roll.names)
    listed, held = _listed_shards(work, source, shards, roll, books)
    originals = tuple(_original_shards(work, listed)) if work.recipe.original else ()
    readings = _readings(work, originals) if work.recipe.original else None
    present = held.present(readings, books.superseded)
    fusions = fusion_books(replace(work, present=present)) if work.fusions else FusionBooks({}, no_numbers())
    present = replace(present, superseded=distinct(np.concatenate([present.superseded, fusions.superseded])))
    plan = Plan(
        replace(work, present=present).settled(),
        source,
        listed,
        originals,
        (),
        held.among(np.concatenate([*books.refused.values(), *[held.no_images]])),
        (),
        (),
        books,
        fusions,
        roll,
        held,
        0,
        sum(
            one.take or one.rows or roll.rows_before(one.shard.name)
            for one in listed
            if not one.complete and roll.is_doubtful(one.shard.name)
        ),
    )
    views = tuple(_in_order(work, [*_view_plans(plan, held)], plan))
    made = distinct(np.concatenate([view.ever for view in books.views.values()] or [held.no_images]))
    gone = 0 if held.is_open else int((~is_among(made, held.keys)).sum())
    experts = tuple(_expert_plans(plan, {view.name: view.to_caption for view in views}))
    filter_counts = tuple(_filter_plans(plan.work))
    return replace(plan, counts=views, filter_counts=filter_counts, expert_counts=experts, gone=gone)


# --- counting what is done ---------------------------------------------------------------------------------------------


def _view_plans(plan: Plan, held: Held) -> Iterator[ViewPlan]:
    books = plan.finished
    for ready in plan.work.seeing:
        view = books.views[ready.name]
        has_text = held.has_text & ready.fills_gaps
        is_done = held.done(view) & ~has_text
        refused = books.refused.get(ready.image_fingerprint, held.no_images)
        is_refused = ~is_done & ~has_text & held.refused(refused)
        ever = is_among(held.keys, view.ever) & ~is_done & ~is_refused
        in_open = held.done_in_open(view)
        rows = plan.source_rows
        to_caption: int | None = None
        knows_texts = not ready.fills_gaps or not held.is_open
        if (
            rows is not None
            and knows_texts
            and not (held.changed or (held.is_open and _has_elsewhere(view.keys, held)))
        ):
            to_caption = max(0, rows - held.repeats - int((is_done | is_refused | has_text).sum()) - in_open)
        failed = held.among(view.failed)
        done = int(is_done.sum()) + in_open
        yield ViewPlan(ready.name, ready.view.model_name, done, int(ever.sum()), failed, to_caption)


def _in_order(work: Work, seeing: Sequence[ViewPlan], plan: Plan) -> Iterator[ViewPlan]:
    """The counts of all views in the order of the recipe; those of fusions follow from those that they are made from."""
    found = {view.name: view for view in seeing}
    for ready in work.fusions:
        done = plan.fusions.views[ready.name]
        waits = [_to_read(plan) if name == ORIGINAL else found[name].to_caption for name in ready.view.made_from]
        to_fuse = None if None in waits else len(done.whole) + max(rows or 0 for rows in waits)
        stale = int((~is_among(done.ever, done.done)).sum())
        name, failed = ready.view.model_name, len(done.failed)
        found[ready.name] = ViewPlan(ready.name, name, len(done.done), stale, failed, to_fuse, ready.view.made_from)
    for ready in work.views:
        yield found[ready.name]


def _to_read(plan: Plan) -> int | None:
    """Rows whose own texts are to be read."""
    rows = [listed.take or listed.rows for listed in plan.original_shards if not listed.complete]
    return None if None in rows else sum(count or 0 for count in rows)


def _has_elsewhere(keys: NDArray[np.uint64], held: Held) -> bool:
    """Whether images are done that stand in no shard that is known: the source may have been cut otherwise."""
    return bool((~is_among(keys, held.keys) & ~is_among(keys, held.begun)).any())


def _filter_plans(work: Work) -> Iterator[FilterPlan]:
    rows = _rows_by_part(work.run)
    for scorer in work.scorers:
        to_score = sum(rows.get(part, 0) for part in work.run.unscored(scorer.name, scorer.fingerprint))
        yield FilterPlan(scorer.name, sum(rows.values()) - to_score, to_score)


def _expert_plans(plan: Plan, to_caption: dict[str, int | None]) -> Iterator[ExpertPlan]:
    work, rows = plan.work, plan.source_rows
    ready = {expert.name: expert for expert in work.experts}
    for name, expert in work.recipe.experts.items():
        asking = tuple(one.name for one in work.views if any(name in asked for asked in one.asked_experts))
        known = 0
        if name in ready:
            table = work.run.experts(name, ready[name].fingerprint)
            known = int(table.filter(pl.col("state") != ExpertState.failed).select(pl.len()).collect().item())
        open_rows = [to_caption[view] for view in asking]
        to_look: int | None = None
        if rows is not None and None not in open_rows:
            most = max([count for count in open_rows if count is not None], default=0)
            to_look = min(most, max(0, rows - known - plan.quarantined))
        yield ExpertPlan(name, expert.kind, asking, known, to_look)


def _listed_shards(
    work: Work, source: ImageSource, shards: Sequence[Shard], roll: Roll, books: Finished
) -> tuple[tuple[ListedShard, ...], Held]:
    """The shards under the limit, and what they hold; one is complete when every image that it holds is done."""
    taken: list[tuple[Shard, int | None, int | None]] = []
    left = work.limit
    for shard in shards:
        rows = shard.rows if shard.rows is not None else roll.rows(shard.name)
        take = None
        if left is not None:
            if left <= 0:
                break
            if rows is None:
                rows = sum(1 for _ in zip(range(left + 1), source.read(shard, 1), strict=False))  # one more: is it all?
            take = min(left, rows) if left < rows else None
            left -= min(left, rows)
        taken.append((shard, rows, take))
    held = roll.held([(shard.name, take) for shard, _, take in taken], books)
    complete = held.complete(books, work.seeing)
    listed = tuple(
        ListedShard(shard, rows, take, not work.seeing or whole)
        for (shard, rows, take), whole in zip(taken, complete, strict=True)
    )
    return listed, held


def _original_shards(work: Work, shards: Sequence[ListedShard]) -> Iterator[ListedShard]:
    """The shards with what is left of them to read for the view `original`."""
    read = {row["shard"]: row for row in work.run.originals(work.original_fingerprint).iter_rows(named=True)}
    for listed in shards:
        known = read.get(listed.shard.name)
        same = known is not None and known["stat"] == listed.shard.stat
        rows = (
            listed.rows
            if listed.rows is not None or not same
            else known["rows"]
            if known and not known["take"]
            else None
        )
        yield replace(listed, rows=rows, complete=bool(known and same and known["take"] == listed.take))


def _readings(work: Work, shards: Sequence[ListedShard]) -> dict[str, int]:
    """When the texts of each shard were read last, as its rows have it."""
    names = [listed.shard.name for listed in shards]
    read = work.run.originals(work.original_fingerprint).filter(pl.col("shard").is_in(names))
    return dict(read.select("shard", "created_ms").iter_rows())


def _rows_by_part(run: Run) -> dict[str, int]:
    """Of each caption part its rows, as its footer says."""
    import pyarrow.parquet as pq

    found = {}
    for part in run.parts("captions"):
        with run.storage.open(f"captions/{part}.parquet") as file:
            found[part] = int(pq.read_metadata(file).num_rows)
    return found
