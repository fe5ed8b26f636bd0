"""What is missing of a recipe's work: counts, what is reused, what is done again and why. Starts no Ray and no engine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import polars as pl

from exports.storage import Storage
from factory.recipe import ORIGINAL, CaptionsSource, Recipe
from factory.runs import tables
from factory.runs.damaged import check_files
from factory.runs.run import Run
from factory.sources import open_source
from factory.sources.kept import KeptRows
from factory.sources.pictures import Pictures
from factory.sources.shard_keys import DUPLICATE, key_hashes
from factory.sources.source import ImageSource, ListedShard
from factory.work.done import finished_images
from factory.work.engine_needs import EngineNeed, engine_needs
from factory.work.work import Work, resolve_work


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


@dataclass(frozen=True, repr=False)
class Plan:
    """A work beside its source: which shards there are, and how much of them is done. Printed, it is its lines."""

    work: Work
    source: ImageSource
    shards: tuple[ListedShard, ...]
    original_shards: tuple[ListedShard, ...]  # for the view `original`, where the recipe has it
    counts: tuple[ViewPlan, ...]
    quarantined: int
    filter_counts: tuple[FilterPlan, ...]

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

    def lines(self) -> list[str]:
        """The plan for a terminal."""
        total = self.source_rows
        lines = [
            f"run: {self.work.run.url}",
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
            lines.append(f"repair: what {repair.by} finds unfaithful is {what}")
        needs = self.engine_needs
        if needs:
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
        to_caption = [view.name for view in self.counts if view.to_caption != 0 and self.open_shards]
        return engine_needs(self.work, to_caption, [one.name for one in self.filter_counts if one.to_score])

    def summary(self) -> dict[str, Any]:
        """The plan as JSON data."""
        return {
            "run": self.work.run.url,
            "source_rows": self.source_rows,
            "shards": len(self.shards),
            "shards_to_read": len(self.open_shards),
            "views": [asdict(view) for view in self.counts],
            "originals_to_read": sum(not listed.complete for listed in self.original_shards),
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
    return plan_work(resolve_work(recipe, run, limit), scratch)


def plan_work(work: Work, scratch: Storage | None = None) -> Plan:
    """List the source of a work and count what is done. Raises SourceError: the source is missing or empty."""
    with tempfile.TemporaryDirectory(prefix="caption-factory-") as folder:
        source = open_source(work.recipe, scratch or Storage(folder))
        if not isinstance(work.recipe.source, CaptionsSource):
            source = KeptRows(source)
        images = finished_images(work).collect()
        quarantine = work.run.quarantine(work.quarantine_fingerprints).select("shard", "image_key", "fingerprint")
        refused = quarantine.unique().collect()
        shards = tuple(_listed_shards(work, source, images, refused))
        plan = Plan(
            work,
            source,
            shards,
            tuple(_original_shards(work, shards)) if work.recipe.original else (),
            (),
            refused.select("shard", "image_key").unique().height,
            tuple(_filter_plans(work)),
        )
        return replace(plan, counts=tuple(_view_plans(plan, images, refused)))


# --- counting what is done ---------------------------------------------------------------------------------------------


def _view_plans(plan: Plan, images: pl.DataFrame, refused: pl.DataFrame) -> Iterator[ViewPlan]:
    made = plan.work.run.scan("captions", tables.CAPTIONS).filter(pl.col("view") != ORIGINAL)
    of_any_recipe = made.select("image_key", "view").unique().collect()
    for ready in plan.work.views:
        finished = images.filter(pl.col("view") == ready.name)
        done = finished.filter(~pl.col("failed"))["image_key"].n_unique()
        ever = of_any_recipe.filter(pl.col("view") == ready.name)
        stale = ever.join(finished, on="image_key", how="anti").height
        blocked = refused.filter(pl.col("fingerprint").is_in([ready.image_fingerprint, DUPLICATE])).height
        to_caption = None if plan.source_rows is None else max(0, plan.source_rows - done - blocked)
        failed = finished.filter(pl.col("failed")).height
        yield ViewPlan(ready.name, ready.view.model, done, stale, failed, to_caption)


def _filter_plans(work: Work) -> Iterator[FilterPlan]:
    captions = _rows(work.run, work.run.parts("captions"))
    for scorer in work.scorers:
        to_score = _rows(work.run, work.run.unscored(scorer.name, scorer.fingerprint))
        yield FilterPlan(scorer.name, captions - to_score, to_score)


def _listed_shards(
    work: Work, source: ImageSource, images: pl.DataFrame, refused: pl.DataFrame
) -> Iterator[ListedShard]:
    """The source's shards; one is complete when the keys done in it are exactly the keys it was read with."""
    read = {row["shard"]: row for row in work.run.shards().iter_rows(named=True)}
    sums = _done_sums(work, images, refused) if read else {}
    left = work.limit
    for shard in source.shards():
        known = read.get(shard.name)
        same = known is not None and known["stat"] == shard.stat
        rows = shard.rows if shard.rows is not None else (known["rows"] if known and same else None)
        complete = not work.views or bool(
            known
            and same
            and (shard.rows is None or shard.rows == known["rows"])
            and sums.get(shard.name) == (known["rows"] - known["duplicates"], known["key_sum"])
        )
        if left is None:
            yield ListedShard(shard, rows, None, complete)
            continue
        if left <= 0:
            return
        if rows is None:
            rows = sum(1 for _ in zip(range(left + 1), source.read(shard, 1), strict=False))  # one more: is it all?
        take = min(left, rows)
        left -= take
        nothing_to_caption = complete and (take == rows or not work.views)
        yield ListedShard(shard, rows, None if take == rows and complete else take, nothing_to_caption)


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
        yield replace(listed, rows=rows, complete=bool(known and same and known["take"] in (None, listed.take)))


def _done_sums(work: Work, images: pl.DataFrame, refused: pl.DataFrame) -> dict[str, tuple[int, int]]:
    """Per shard: how many keys are done in every view or quarantined for it, and the sum of their hashes."""
    per_view = []
    for ready in work.views:
        captioned = images.filter((pl.col("view") == ready.name) & ~pl.col("failed")).select("shard", "image_key")
        blocked = refused.filter(pl.col("fingerprint") == ready.image_fingerprint).select("shard", "image_key")
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
