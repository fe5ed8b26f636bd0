"""What a recipe asks for: resolved once, never changed. A reopened run has the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import filters
from factory.recipe import ORIGINAL, Recipe, parse_recipe
from factory.recipe.yaml_text import parse_yaml
from factory.runs import tables
from factory.runs.resolving import one_per_key, status_rank
from factory.runs.run import RECIPE, RECIPE_LOCK, Run
from factory.sources.shard_keys import DUPLICATE
from factory.work.calibrations import load_calibrations
from factory.work.checks import check_conditions, check_cut, check_images, check_owner
from factory.work.engine_checks import check_engines
from factory.work.experts import ReadyExpert
from factory.work.fingerprint import cut_fingerprint, fingerprint, original_fingerprint, reading_fingerprint
from factory.work.present import COLUMNS, Present, present_of
from factory.work.rungs import ReadyRung, rungs_of
from factory.work.scorer import Scorer, scorer_of
from factory.work.views import EngineGroup, ReadyView, by_sources, engine_groups, ready_views, with_judges
from filters.asking.questions import SELF, VlmFilter
from filters.calibration.calibration import Calibration

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Work:
    """A recipe with its views, filters, calibrations and rungs resolved, and the run whose tables it fills."""

    recipe: Recipe
    run: Run
    views: tuple[ReadyView, ...]
    scorers: tuple[Scorer, ...]
    calibrations: Mapping[str, Calibration]  # by reference: those that selection and repair name
    rungs: tuple[ReadyRung, ...]
    limit: int | None  # only the first rows of the source
    present: Present | None = None  # the images that the source has; None: all that have captions

    @cached_property
    def seeing(self) -> tuple[ReadyView, ...]:
        """The views that are shown images: all but the fusions."""
        return tuple(ready for ready in self.views if not ready.view.made_from)

    @cached_property
    def fusions(self) -> tuple[ReadyView, ...]:
        """The views made from others, each after those that it is made from."""
        return tuple(ready for ready in by_sources(self.views) if ready.view.made_from)

    @property
    def groups(self) -> list[EngineGroup]:
        """The views of the first try that are shown images, by the engine that makes their captions, in order."""
        return engine_groups(self.seeing)

    @property
    def experts(self) -> tuple[ReadyExpert, ...]:
        """The experts that prompts ask for, also those of the rungs."""
        return self.views[0].experts if self.views else ()

    @cached_property
    def engines(self) -> tuple[EngineGroup, ...]:
        """Every engine that may be needed, in the order in which it is first, with all that it serves: the views of the first
        try and of each rung, and judges.
        """
        tries = engine_groups([*self.views, *(ready for rung in self.rungs for ready in rung.views)])
        judges = [judge for scorer in self.scorers for judge in scorer.judges.values()]
        return tuple(with_judges(tries, [judge.ready for judge in judges if judge.endpoint is None]))

    def engine_of(self, ready: ReadyView) -> EngineGroup:
        """The engine that serves a view or a judge of this work."""
        return next(group for group in self.engines if ready in group.views)

    @property
    def engines_to_judge(self) -> list[EngineGroup]:
        """Those that answer for every caption, in the order of the filters; not those whose filters ask only `when`."""
        asking = [one for one in self.scorers if isinstance(one.filter, VlmFilter) and one.filter.when is None]
        return self._judging(asking)

    @property
    def engines_after_captions(self) -> list[EngineGroup]:
        """Those that may be needed once every image has captions: of fusions, of judges, and of the rungs."""
        later = [*self.fusions, *(ready for rung in self.rungs for ready in rung.views)]
        return [*self._judging(self.scorers), *(self.engine_of(ready) for ready in later)]

    def _judging(self, scorers: Sequence[Scorer]) -> list[EngineGroup]:
        judges = (judge for scorer in scorers for judge in scorer.judges.values())
        return [self.engine_of(judge.ready) for judge in judges if judge.endpoint is None]

    @property
    def asked_at_once(self) -> dict[str, tuple[VlmFilter, ...]]:
        """View -> the filters whose questions its captioner answers right after captioning."""
        own = [one.filter for one in self.scorers if isinstance(one.filter, VlmFilter)]
        own = [one for one in own if one.judge == SELF and one.when is None]
        return {ready.name: tuple(own) for ready in self.seeing} if own else {}

    def judge_fingerprints(self) -> dict[str, str]:
        """View -> the print under which its captioner's own answers are kept."""
        mine = [one.judges for one in self.scorers if isinstance(one.filter, VlmFilter) and one.filter.judge == SELF]
        return {view: judge.fingerprint for judges in mine for view, judge in judges.items()}

    @property
    def original_fingerprint(self) -> str:
        """Fingerprint of the rows of the view `original`."""
        return original_fingerprint(self.recipe)

    @property
    def view_names(self) -> list[str]:
        """All views in the order in which they are preferred; the source's own text comes last."""
        return [*(ready.name for ready in self.views), *([ORIGINAL] if self.recipe.original else [])]

    @property
    def caption_fingerprints(self) -> list[str]:
        """Fingerprints of the captions this recipe makes or reads, with those that repair adds."""
        made = {
            *self.first_fingerprints,
            *(one for rung in self.rungs for ready in rung.views for one in ready.fingerprints),
        }
        by = self.cut_by
        return sorted(made if by is None else {*made, *(cut_fingerprint(one, by) for one in made)})

    @property
    def cut_by(self) -> str | None:
        """Identifies what decides which sentences repair cuts; None where it cuts none."""
        settings = self.recipe.repair
        if settings is None or not settings.cut:
            return None
        if settings.by in self.calibrations:
            return self.calibrations[settings.by].id
        judge = next(scorer.identity for scorer in self.scorers if scorer.name == settings.by)
        return fingerprint("cut by", [settings.by, judge, settings.least])

    @cached_property
    def asks_original(self) -> frozenset[str]:
        """Fingerprints of captions that go by the image's own text: their prompt holds it, or they are for images without."""
        every = [*self.seeing, *(ready for rung in self.rungs for ready in rung.views)]
        asking = {
            made for ready in every for place, made in enumerate(ready.fingerprints) if ready.asks_original(place)
        }
        by = self.cut_by
        return frozenset(asking if by is None else {*asking, *(cut_fingerprint(one, by) for one in asking)})

    @property
    def reading(self) -> str:
        """Identifies how the rows of the source are read."""
        return reading_fingerprint(self.recipe, bool(self.asks_original))

    # --- the captions that count ---

    @property
    def counts(self) -> pl.Expr:
        """Whether a caption row, with the columns `present.COLUMNS`, counts: the recipe makes such rows, and its image is there."""
        import polars as pl

        of_recipe = pl.col("fingerprint").is_in(self.caption_fingerprints)
        if self.present is None:
            return of_recipe
        mask, asks = self.present.mask, self.asks_original
        is_present = pl.struct(COLUMNS).map_batches(
            lambda rows: mask(rows.struct.unnest(), asks), return_dtype=pl.Boolean, is_elementwise=True
        )
        return of_recipe & is_present

    def captions(self, fingerprints: Sequence[str] | None = None) -> pl.LazyFrame:
        """The captions that count, one row per (shard, image key, view, candidate): the best, then the oldest.

        The same key in two shards is two rows here; `selection` keeps the first and counts the other.

        Args:
            fingerprints: only those made by these.
        """
        import polars as pl

        rows = self.run.scan("captions", tables.CAPTIONS)
        if fingerprints is not None:
            rows = rows.filter(pl.col("fingerprint").is_in(fingerprints))
        return one_per_key(
            rows.filter(self.counts), ["shard", *tables.CAPTION_KEY], [status_rank(), pl.col("created_ms")]
        )

    def part(self, part: str) -> pl.LazyFrame:
        """The rows of a caption part that count."""
        return self.run.caption_part(part).filter(self.counts)

    @property
    def first_fingerprints(self) -> list[str]:
        """Fingerprints of the captions that every image gets."""
        return sorted({*self.view_fingerprints, *self._of_original()})

    @property
    def view_fingerprints(self) -> list[str]:
        """Fingerprints of the captions this recipe makes at the first try."""
        return sorted({one for ready in self.views for one in ready.fingerprints})

    @property
    def quarantine_fingerprints(self) -> list[str]:
        """Fingerprints of the quarantine rows that count under this recipe."""
        return sorted({ready.image_fingerprint for ready in self.seeing} | self._of_original() | {DUPLICATE})

    def _of_original(self) -> set[str]:
        return {self.original_fingerprint} if self.recipe.original else set()

    def settled(self) -> Work:
        """The same, with the filters of whole sets fingerprinted by the captions that the run holds now."""
        seen = [self.run.parts("captions"), self.caption_fingerprints, *([self.present.id] if self.present else [])]
        scorers = (
            replace(scorer, fingerprint=fingerprint("set", [scorer.alone, *seen]))
            if isinstance(scorer.filter, filters.SetFilter)
            else scorer
            for scorer in self.scorers
        )
        return replace(self, scorers=tuple(scorers))

    @property
    def logs(self) -> str | None:
        """Where the run's processes write what they say; None where its directory is not on this machine."""
        return self.run.storage.full("logs") if self.run.storage.is_local else None


def resolve_work(recipe: Recipe, run: Run, limit: int | None = None) -> Work:
    """Resolve everything that a recipe names, and check what can be known before anything starts.

    Args:
        recipe: a loaded recipe.
        run: its run directory, which need not exist.
        limit: only the first rows of the source.

    Raises:
        RecipeError: a model, engine argument or filter column that is not there; an engine that cannot start.
        RunError: the directory belongs to another recipe, or lacks a calibration that the selection names.
    """
    check_owner(run, recipe)
    check_images(recipe)
    work = _resolved(recipe, run, limit)
    check_engines(_places(work, work.seeing))
    check_engines(_places(work, work.fusions), sees=False)
    check_conditions(work.scorers)
    check_cut(recipe, work.scorers, work.calibrations)
    return work


def _places(work: Work, some: Sequence[ReadyView]) -> list[tuple[str, ReadyView]]:
    """Those of some views that an engine here serves, and with those that see, the judges, by where the recipe names them."""
    views = [
        (f"views.{place}", ready)
        for place, ready in enumerate(work.views)
        if ready.view.server is None and ready in some
    ]
    if some != work.seeing:
        return views
    judges = [
        (f"filters.{scorer.name}.judge", judge.ready)
        for scorer in work.scorers
        for judge in scorer.judges.values()
        if judge.endpoint is None and judge.ready not in work.views
    ]
    return [*views, *judges]


def reopen(run: Run) -> Work:
    """The work of a finished or interrupted run, from its own files."""
    lock = run.read_json(RECIPE_LOCK)
    text = parse_yaml(run.storage.read(RECIPE).decode(), run.storage.full(RECIPE))
    for view in text.data.get("views") or ():
        revision = lock["views"].get(view["name"], {}).get("revision", "")
        if len(revision) == 40:
            view["revision"] = revision  # as it was, also when the Hub cannot be reached
    work = _resolved(parse_recipe(text), run, lock.get("limit"))
    return replace(work, present=present_of(run)).settled()


def _resolved(recipe: Recipe, run: Run, limit: int | None) -> Work:
    views = tuple(ready_views(recipe))
    scorers = tuple(scorer_of(use.name, use.params, recipe, views) for use in recipe.filters)
    calibrations = load_calibrations(run, recipe, {scorer.name: scorer.identity for scorer in scorers})
    return Work(recipe, run, views, scorers, calibrations, tuple(rungs_of(recipe, run, views)), limit).settled()
