"""One call for each command that makes something: run, plan, filter, release, loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exports.release import ReleaseResult
from exports.storage import Storage
from factory.api.opened_run import OpenedRun
from factory.errors import extras_named
from factory.notice import Notice
from factory.outcome import LEFT_OUT, Outcome
from factory.recipe import Recipe, as_recipe, recipe_yaml
from factory.recipe.loading import Overrides
from factory.repair.retrying import Retry
from factory.runs.run import Run, find_run
from factory.work.plan import Plan
from filters.contract.filter import Filter

RecipeLike = Recipe | Mapping[str, Any] | str | Path
"""A recipe: an object, a mapping of its keys, a YAML file, or a release that holds one (a directory, hub:org/name@v1.2.0)."""


def run(
    recipe: RecipeLike,
    out: str | Path | None = None,
    *,
    overrides: Overrides = (),
    limit: int | None = None,
    fresh: bool = False,
    retry: Sequence[Retry] = (),
    quiet: bool = False,
    plugins: Sequence[str | Path] = (),
    notify: str | None = None,
) -> Outcome:
    """Run a recipe: caption what is missing, score, select, release, report. Run again, it makes only what is missing.

    Args:
        recipe: a `Recipe`, a mapping of its keys, a YAML file, or a release (it is made again).
        out: run directory, local or any fsspec URL; None: runs/<name of the recipe>.
        overrides: values changed first, `{"views.detailed.sampling.n": 2}`; list items by index or by their `name`.
        limit: only the first rows of the source, at least 1.
        fresh: set an older run in this directory aside (it is kept in before-*/) and start anew.
        retry: what is tried once more although it is done: truncated, unfaithful, unanswered, failed.
        quiet: no progress on stderr.
        plugins: Python files with filters or sources of your own (docs/plugins.md), beside those the recipe names.
        notify: an http(s) address that is told how it ended (docs/notice.md); None: FACTORY_WEBHOOK, if that is set.

    Returns: what the run ended with; `print` shows it, `.summary()` is it as data, `.run` opens its tables.

    Raises:
        RecipeError: what is wrong with the recipe, all at once. SourceError, EngineError, RunError: what to do; what was
            finished is kept, and the same call goes on.
    """
    from factory.pipeline import run_recipe

    loaded, limit = _recipe_and_limit(recipe, overrides, limit, plugins)
    directory = _run_directory(loaded, out)
    with Notice("run", directory, notify) as notice, extras_named():
        outcome = run_recipe(loaded, recipe_yaml(loaded), directory, limit, fresh, quiet, retry)
        notice.result = outcome.lines()
    return outcome


def plan(
    recipe: RecipeLike,
    out: str | Path | None = None,
    *,
    overrides: Overrides = (),
    limit: int | None = None,
    plugins: Sequence[str | Path] = (),
) -> Plan:
    """What `run` would do: what is reused, what is made again and why. Starts no engine and writes nothing.

    Args: as of `run`.

    Returns: the counts; `print` shows them, `.summary()` is them as data.

    Raises:
        RecipeError, SourceError, RunError: what `run` would raise before it starts.
    """
    from factory.work.plan import make_plan

    loaded, limit = _recipe_and_limit(recipe, overrides, limit, plugins)
    return make_plan(loaded, Run(Storage(_run_directory(loaded, out))), limit)


def filter(
    source: str | Path,
    out: str | Path,
    *,
    filters: str | Path | Sequence[Any] | None = None,
    text: str | None = None,
    image: str | None = None,
    id: str | None = None,
    overrides: Overrides = (),
    limit: int | None = None,
    fresh: bool = False,
    quiet: bool = False,
    plugins: Sequence[str | Path] = (),
    notify: str | None = None,
) -> Outcome:
    """Score captions that others made and decide which to keep. Needs no captioner and no GPU.

    Args:
        source: a file or folder of captions or of images with captions, WebDataset tars, a dataset on disk, or on the Hub
            (hub:org/name@revision).
        out: run directory, local or any fsspec URL.
        filters: a YAML file with filters (and select, release), or a list of filters as a recipe has it; None: the text
            filters with the rules of docs/filters.md.
        text, image, id: columns of the caption, the image, and a unique id; None: the usual names are looked for.
        overrides, limit, fresh, quiet, plugins, notify: as of `run`.

    Raises:
        RecipeError, SourceError, RunError, FilterError: what is wrong and what to do.
    """
    from factory.filtering import filter_recipe, run_name
    from factory.pipeline import run_recipe
    from factory.recipe.loading import as_texts

    file, listed = None, None
    if isinstance(filters, str | Path):
        file = str(filters)
    elif filters is not None:
        listed = [_as_written(one) for one in filters]
    sets = as_texts(overrides)
    columns = {"text": text, "image": image, "id": id}
    recipe = filter_recipe(str(source), run_name(str(out)), file, sets, listed, plugins, **columns)
    with Notice("filter", str(out), notify) as notice, extras_named():
        outcome = run_recipe(recipe, recipe_yaml(recipe), str(out), limit, fresh, quiet)
        notice.result = outcome.lines()
    return outcome


@dataclass(frozen=True)
class Released:
    """A release made from a run, and the images that are not in it as selected: reason -> how many."""

    result: ReleaseResult
    left_out: Mapping[str, int]

    @property
    def url(self) -> str:
        """The directory of this version."""
        return self.result.url

    def lines(self) -> list[str]:
        """For a terminal."""
        words = "" if self.result.is_new else ", unchanged"
        return [
            f"release  {self.result.url} ({self.result.rows:,} rows{words})",
            *(f"         {count:,} {LEFT_OUT[reason]}" for reason, count in self.left_out.items()),
        ]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def release(run: str | Path | OpenedRun | Outcome, to: str | Path, **settings: Any) -> Released:
    """Release what a finished run selected; its source is read again for the images.

    Args:
        run: a run directory, an opened run, or what `run` returned.
        to: the directory of the versions, local or any fsspec URL.
        settings: other keys of a recipe's `release`: version ("1.2.0"), license, caption, configs, rewrite, ...

    Raises:
        RunError: the run has not finished. SourceError: its source is gone. ReleaseError: nothing was kept, or the version
            is there with another content.
    """
    from factory.releasing.export_run import export_release

    url = run.work.run.url if isinstance(run, Outcome) else str(run.url if isinstance(run, OpenedRun) else run)
    return Released(*export_release(find_run(url), str(to), **settings))


def loop(
    file: str | Path,
    out: str | Path | None = None,
    *,
    rounds: int | None = None,
    overrides: Overrides = (),
    quiet: bool = False,
    notify: str | None = None,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Caption, release, train, judge, and again with the better model: the rounds of a loop file.

    Called again after a crash it goes on where it stopped. A round that is no better than its parent ends the loop.

    Args:
        file: the loop file.
        out: directory of the loop; None: loops/<name of the loop>.
        rounds: how many after the first model; None: as the file says.
        overrides: as of `run`.
        quiet: no progress.
        notify: as of `run`.
        say: hears what happens, a line at a time, unless quiet.

    Returns: the ledger, an entry a round.

    Raises:
        RecipeError: what is wrong with the loop file. FactoryError: what to do; what was finished is kept.
    """
    from factory.recipe.loading import as_texts
    from factory.rounds.ledger import table
    from factory.rounds.loop import LoopRun
    from factory.rounds.loop_file import load_loop

    loaded = load_loop(file, as_texts(overrides))
    hear = (lambda line: None) if quiet else say
    made = LoopRun(loaded, Path(out or f"loops/{loaded.name}"), hear, quiet)
    with Notice("loop", str(made.folder), notify) as notice, extras_named():
        entries = made.run(rounds)
        notice.result = list(table(entries))
    return entries


def _recipe_and_limit(
    recipe: RecipeLike, overrides: Overrides, limit: int | None, plugins: Sequence[str | Path]
) -> tuple[Recipe, int | None]:
    """The recipe, and the limit: that of the release it comes from unless another is asked for."""
    from factory.releasing.released_recipe import recipe_file, released_limit

    if not isinstance(recipe, str | Path):
        return as_recipe(recipe, overrides, plugins), limit
    file = recipe_file(recipe)
    return as_recipe(file, overrides, plugins, released=file != Path(recipe)), limit or released_limit(file)


def _as_written(one: Any) -> Any:
    """A filter as a recipe lists it."""
    return {one.name: one.model_dump(mode="json", exclude_unset=True)} if isinstance(one, Filter) else one


def _run_directory(recipe: Recipe, out: str | Path | None) -> str:
    return str(out or f"runs/{recipe.name}")
