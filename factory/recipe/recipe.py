"""The recipe: one YAML file that says everything a run does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator

from factory.experts.contract import Expert, ExpertError
from factory.experts.kinds import build_expert
from factory.plugins import BUILT_IN_KINDS, PluginError, load_plugin, source_kinds
from factory.recipe.part import NAME_PATTERN, ORIGINAL, PLACE, Part, is_reference
from factory.recipe.problems import did_you_mean, problems_of
from factory.recipe.release import Release
from factory.recipe.repair import Repair
from factory.recipe.select import Select
from factory.recipe.source import CaptionsSource, Source
from factory.recipe.view import View
from factory.recipe.yaml_text import RecipeText
from filters.contract.filter import Filter


class FilterUse(Part):
    """A filter of the run with its parameters."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)


class Recipe(Part):
    """Everything a run does."""

    name: str = Field(
        default="captions",
        pattern=NAME_PATTERN,
        description="Name of the run; also the default run directory. Unset in a file: the file's own name.",
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of prompt choice, sampling and draws.")
    plugins: tuple[str, ...] = Field(
        default=(),
        description="Python files of this machine with filters or sources of your own (docs/plugins.md). They are run.",
    )
    source: SerializeAsAny[Source]
    original: bool = Field(
        default=False, description="Score, select and release the source's own texts too, as the view 'original'."
    )
    experts: dict[Annotated[str, Field(pattern=NAME_PATTERN)], SerializeAsAny[Expert]] = Field(
        default_factory=dict,
        description="What looks at images before they are captioned, by the name that prompts call it: {ocr: {kind: rapidocr}}.",
    )
    views: tuple[View, ...] = Field(default=(), description="The captions to make; none where original is true.")
    filters: tuple[FilterUse, ...] = ()
    repair: Repair | None = Field(default=None, description="Unset: what is unfaithful is only dropped.")
    select: Select = Select()
    release: Release | None = Field(default=None, description="Unset: the run ends with the selection.")

    @field_validator("plugins", mode="after")
    @classmethod
    def _load_plugins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Before the source and the filters are looked at, which they may bring."""
        for file in value:
            try:
                load_plugin(file)
            except PluginError as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("source", mode="wrap")
    @classmethod
    def _source_of_a_plugin(cls, value: Any, handler: Callable[[Any], Any]) -> Any:
        kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
        if not isinstance(kind, str) or kind in BUILT_IN_KINDS:
            return handler(value)
        brought = source_kinds().get(kind)
        if brought is None:
            return handler(value)
        try:
            return brought.Settings.model_validate(value)
        except ValidationError as error:
            text = RecipeText(f"of the kind {kind}", value)
            raise ValueError("; ".join(problems_of(text, error.errors(), brought.Settings))) from None

    @field_validator("experts", mode="before")
    @classmethod
    def _experts_of_their_kinds(cls, value: Any) -> Any:
        """After plugins are loaded, which may bring kinds."""
        if not isinstance(value, Mapping):
            return value
        made, problems = {}, []
        for name, settings in value.items():
            try:
                made[name] = build_expert(settings)
            except ExpertError as error:
                problems.append(f"{name}: {error}")
        if problems:
            raise ValueError("; ".join(problems))
        return made

    @field_validator("filters", mode="before")
    @classmethod
    def _filter_shorthand(cls, value: Any) -> Any:
        """`- repetition` and `- length: {min_words: 5}` are the two ways to write a filter; in Python, `Length(min_words=5)`."""
        if not isinstance(value, (list, tuple)):
            return value
        return [filter_use(item) for item in value]

    @model_validator(mode="after")
    def _names_fit_together(self) -> Recipe:
        views = [view.name for view in self.views]
        if not views and not self.original:
            raise ValueError(
                "views: name a view to caption with, or set original: true to filter the source's own texts"
            )
        if isinstance(self.source, CaptionsSource) and not all(view.made_from for view in self.views):
            raise ValueError(
                "views: a source of captions has no images to caption; set original: true, and no views but fusions (from: [...])"
            )
        if len(set(views)) != len(views):
            raise ValueError("views: names must be unique")
        if "original" in views:
            raise ValueError("views: 'original' is the source's own text; choose another name")
        self._check_places()
        for view in self.views:
            if view.where == "missing" and not self.original:
                raise ValueError(
                    f"views.{view.name}.where: missing fills up the source's own texts; set original: true, so that they count"
                )
        self._check_fusions(views)
        names = [use.name for use in self.filters]
        if len(set(names)) != len(names):
            raise ValueError("filters: each filter may be named once")
        rule = self.release.rule if self.release else None
        for text in rule.named() if rule else ():
            if text not in [*views, "original"]:
                raise ValueError(
                    f"release.caption: no view '{text}'{did_you_mean(text, [*views, 'original'], every=True)}"
                )
        for text in self.release.questions if self.release else ():
            if text not in [*views, "original", "template"]:
                raise ValueError(
                    f"release.questions: no view '{text}'{did_you_mean(text, [*views, 'original', 'template'], every=True)}"
                )
        for name in self.select.keep_unscored:
            if name not in self.select.require:
                raise ValueError(
                    f"select.keep_unscored: '{name}' is not in select.require{did_you_mean(name, list(self.select.require))}"
                )
        for name in self.release.limits if self.release else ():
            if name not in names:
                raise ValueError(f"release.limits: no filter '{name}' in this recipe{did_you_mean(name, names)}")
        if self.repair is not None:
            self._check_repair(self.repair, names)
        for name in self.select.filters:
            if name not in names:
                raise ValueError(f"select: '{name}' is not among the filters of this recipe{did_you_mean(name, names)}")
        return self

    def _check_places(self) -> None:
        """Whatever a prompt has put in is there."""
        if ORIGINAL in self.experts:
            raise ValueError("experts: 'original' is the source's own text; choose another name")
        seen = (ORIGINAL, *self.experts)
        prompts = [
            (f"views.{place}.prompts", one.text, view.made_from or seen)  # a fusion sees its inputs alone
            for place, view in enumerate(self.views)
            for one in view.prompts
        ]
        rungs = self.repair.regenerate if self.repair is not None else ()
        prompts += [(f"repair.regenerate.{place}", rung.prompt or "", seen) for place, rung in enumerate(rungs)]
        for where, text, known in prompts:
            for match in PLACE.finditer(text):
                name = match["name"]
                if name is not None and name not in known:
                    raise ValueError(
                        f"{where}: no expert '{name}' to put into {{{name}}}{did_you_mean(name, known, every=True)}; add it to experts, "
                        f"or write {{{{{name}}}}} for the word in braces"
                    )

    def _check_fusions(self, views: list[str]) -> None:
        made_from = {view.name: view.made_from for view in self.views}
        for name, sources in made_from.items():
            for one in sources:
                if one == ORIGINAL and not self.original:
                    raise ValueError(
                        f"views.{name}.from: 'original' is the source's own text; set original: true to read it"
                    )
                if one != ORIGINAL and one not in views:
                    known = [ORIGINAL, *(other for other in views if other != name)]
                    raise ValueError(f"views.{name}.from: no view '{one}'{did_you_mean(one, known, every=True)}")
        circle = _circle(made_from)
        if circle:
            raise ValueError(
                f"views.{circle[0]}.from: {' is made from '.join(circle)}; a fusion cannot be made from itself: take one of them out"
            )

    def _check_repair(self, repair: Repair, names: list[str]) -> None:
        if not is_reference(repair.by) and repair.by not in names:
            raise ValueError(f"repair.by: no filter '{repair.by}' in this recipe{did_you_mean(repair.by, names)}")
        if self.select.best_of is None:
            raise ValueError(
                f"repair: it adds candidates; say which one is kept with select.best_of, for example best_of: {repair.by}"
            )
        if repair.regenerate and all(view.made_from for view in self.views):
            raise ValueError(
                "repair.regenerate: these captions come from elsewhere, so nobody can write them again; use cut"
            )
        for place, rung in enumerate(repair.regenerate):
            for view in self.views:
                if view.made_from:
                    continue  # written again when what it is made from is
                where = f"repair.regenerate.{place}"
                try:
                    sampling = rung.sampling(view)
                except ValueError as error:
                    raise ValueError(f"{where}: {error}") from None
                if not (sampling.temperature or view.sampling.temperature or rung.prompt):
                    raise ValueError(
                        f"{where}: the view {view.name} would write the same caption again; set temperature above 0, or a prompt"
                    )

    @property
    def calibrations(self) -> list[str]:
        """The calibrations that selection and repair name."""
        repair = [self.repair.by] if self.repair is not None and is_reference(self.repair.by) else []
        return list(dict.fromkeys([*self.select.calibrations, *repair]))


def _circle(made_from: Mapping[str, Sequence[str]]) -> list[str]:
    """Views of which each is made from the next, the last one the first again; [] where there are none."""
    sorter = TopologicalSorter(made_from)
    try:
        sorter.prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def filter_use(item: Any) -> Any:
    """A filter as `FilterUse` has it, of the ways to write one."""
    if isinstance(item, str):
        return {"name": item}
    if isinstance(item, Filter):
        return {"name": item.name, "params": item.model_dump(mode="json", exclude_unset=True)}
    if isinstance(item, dict) and len(item) == 1 and "name" not in item:
        name, params = next(iter(item.items()))
        if params is None or isinstance(params, dict):
            return {"name": name, "params": params or {}}
    return item
