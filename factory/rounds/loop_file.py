"""The loop file: how rounds of captioning and training are made, compared and ended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from exports.mixture import Mixture, parse_mixture
from exports.release import ReleaseError
from factory.errors import RecipeError
from factory.recipe.loading import parse_part, parse_recipe, with_overrides
from factory.recipe.part import NAME_PATTERN, Part
from factory.recipe.problems import did_you_mean
from factory.recipe.recipe import Recipe
from factory.recipe.yaml_text import RecipeText, read_yaml
from factory.rounds.training_settings import Training
from filters.asking.questions import SELF
from filters.asking.vlm_judge import VlmJudge

CAPTIONS: Final = "captions"
"""What a stage learns from: the release of its round."""
MAIN: Final = "main"
"""The arm whose model captions next."""
CAPTIONER: Final = "captioner"
"""Stands in a loop's recipes for the model of the round before."""
CHANGED_BY_ARMS: Final = ("filters", "select", "repair")


class Stage(Part):
    """One training of a chain; it begins from what the stage before it left, the first from the loop's `base`."""

    learn: str = Field(description="'captions' (the round's release), or one of the loop's `releases` or `mixtures`.")
    mix: dict[str, float] = Field(
        default_factory=dict, description="Other releases learned beside it, with weights; `learn` itself weighs 1."
    )
    training: Training = Field(default=Training(), description="How; `start` is filled in.")


class Arm(Part):
    """Another way to make a round, trained and judged beside it from the same captions. It never captions."""

    recipe: dict[str, Any] = Field(
        default_factory=dict, description="Instead of these keys of the captioning recipe: filters, select, repair."
    )
    stages: tuple[Stage, ...] | None = Field(default=None, min_length=1, description="Unset: those of the round.")
    max_pixels: int | None = Field(
        default=None, ge=1, description="Pixel budget of its trainings and of the held-out images that it is judged on."
    )

    @field_validator("recipe")
    @classmethod
    def _known_keys(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key in value:
            if key not in CHANGED_BY_ARMS:
                raise ValueError(f"an arm changes {', '.join(CHANGED_BY_ARMS)} of the recipe, not {key}")
        return value


class Outside(Part):
    """A command that judges a model in its own way."""

    command: tuple[str, ...] = Field(
        min_length=1, description="As a list of words; {model} and {to} (a directory for its results) are filled in."
    )
    results: str = Field(
        default="**/*.json",
        min_length=1,
        description="Which files below {to} hold its numbers, as a glob. Every number in them goes into the ledger, by its path.",
    )

    @model_validator(mode="after")
    def _belongs_together(self) -> Outside:
        for word in ("{model}", "{to}"):
            if not any(word in one for one in self.command):
                raise ValueError(f"command: one word holds {word}")
        if self.results.startswith("/") or ".." in Path(self.results).parts:
            raise ValueError("results: a pattern of files below {to}, such as '**/*.json'")
        return self


class Wins(Part):
    """A judge that is shown the captions of two rounds beside their image, in both orders."""

    judge: str | dict[str, Any] = Field(
        description="As of the filter vlm_judge: a model, or {endpoint: URL, model: NAME}. Not the captioner: it would judge itself."
    )
    rubrics: tuple[str, ...] = Field(
        default=("accuracy", "completeness"),
        min_length=1,
        description="accuracy, completeness, or files of your own with {first} and {second}.",
    )
    images: int = Field(default=500, ge=1, description="Held-out images that are compared at most, drawn once.")

    @model_validator(mode="after")
    def _can_be_asked(self) -> Wins:
        if self.judge == SELF:
            raise ValueError("judge: self: a captioner would judge itself; name another model, or a server")
        for rubric in self.rubrics:
            VlmJudge.model_validate({"compare": "candidates", "rubric": rubric, "judge": self.judge}).models()
        return self


class Evaluate(Part):
    """How every model is judged, on images that nothing is trained on."""

    recipe: dict[str, Any] = Field(description="A recipe that captions the held-out images, with `model: captioner`.")
    by: str = Field(
        default="truth", description="What a caption is worth: 'truth' (the demo world), or a filter of that recipe."
    )
    wins: Wins | None = Field(
        default=None,
        description="Compare each round's captions with those of every earlier round. The verdict does not look at it.",
    )
    outside: dict[Annotated[str, Field(pattern=NAME_PATTERN)], Outside] = Field(
        default_factory=dict,
        description="name: a command that judges every model too, such as lmms-eval on local tasks. The verdict does not look at it.",
    )


class GoOn(Part):
    """When another round follows."""

    gain: float = Field(
        default=0.0, ge=0, le=1, description="Least mean gain over the parent; below it the loop is saturated and ends."
    )


class Guard(Part):
    """What a round has to pass before it is trained on. Unset values are not checked."""

    judge: str | None = Field(default=None, description="Filter of the captioning recipe whose verdicts are audited.")
    least: float = Field(default=0.5, ge=0, le=1, description="Sentences scored at least this count as right by it.")
    precision: float = Field(
        default=0.8, ge=0, le=1, description="Least share of right ones among these, for every kind of claim."
    )
    warn: tuple[str, ...] = Field(
        default=(),
        description="Kinds of claims that may fall below `precision`: the ledger warns, the round goes on. For what a judge is known not "
        "to see, such as printed words.",
    )
    auroc: float = Field(default=0.7, ge=0, le=1, description="Least AUROC of the judge on the round's sentences.")
    claims: int = Field(default=50, ge=1, description="A kind with fewer audited sentences is not decided on.")
    distinct: float = Field(
        default=0.5, ge=0, le=1, description="Least distinct word pairs, as a share of the round before: else collapse."
    )
    length: float = Field(
        default=0.5, ge=0, le=1, description="Least mean length in words, as a share of the round before."
    )


class Loop(Part):
    """A chain of runs, releases, trainings and evaluations in one directory."""

    name: str = Field(pattern=NAME_PATTERN, description="Name of the loop; also its default directory, loops/NAME.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Added to the seeds of recipes and trainings.")
    rounds: int = Field(default=2, ge=0, le=100, description="Rounds after the first model.")
    base: str = Field(default="demo:base", description="Where every round's training begins ('from scratch').")
    releases: dict[str, dict[str, Any] | str] = Field(
        default_factory=dict,
        description="name: a release (directory or hub:org/name@version), or a recipe that makes one from texts that exist.",
    )
    mixtures: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="name: a mixture as `factory mix` takes it (without its name); a part's `release` may be 'captions' or one of "
        "`releases`.",
    )
    begin: Literal["base", "captioner"] = Field(
        default="base",
        description="Where a round's training begins: from `base` anew, or from the model that captioned.",
    )
    first: tuple[Stage, ...] | str = Field(
        description="The first captioner: the stages that make it, or the name of a model that is there."
    )
    caption: dict[str, Any] = Field(description="The recipe that captions the pool, with `model: captioner`.")
    round: tuple[Stage, ...] = Field(min_length=1, description="The stages of each round.")
    arms: dict[str, Arm] = Field(default_factory=dict, description="Other ways to make the round, for comparison.")
    evaluate: Evaluate
    go_on: GoOn = GoOn()
    guard: Guard = Guard()

    @model_validator(mode="after")
    def _names_fit_together(self) -> Loop:
        made = {name: self.mixture(name) for name in self.mixtures}
        for name, mixture in made.items():
            for part, of in mixture.parts.items():
                for release in of.release or ():
                    if release not in (CAPTIONS, *self.releases) and not set(release) & set("/:."):
                        hint = did_you_mean(release, [CAPTIONS, *self.releases], every=True)
                        raise ValueError(f"mixtures.{name}.parts.{part}.release: no release '{release}'{hint}")
        if twice := [name for name in self.mixtures if name in (CAPTIONS, *self.releases)]:
            raise ValueError(f"mixtures: '{twice[0]}' is a release already; choose another name")
        known = [CAPTIONS, *self.releases, *self.mixtures]
        for where, stages in self.chains().items():
            for place, stage in enumerate(stages):
                for name in (stage.learn, *stage.mix):
                    if name not in known:
                        hint = did_you_mean(name, known, every=True)
                        raise ValueError(f"{where}.{place}.learn: no release '{name}'{hint}")
                if stage.mix and {stage.learn, *stage.mix} & {*self.mixtures}:
                    raise ValueError(
                        f"{where}.{place}.mix: a mixture is learned alone; name what is beside it in its parts"
                    )
                for name in self.learned_by((stage,)):
                    if name == CAPTIONS and where == "first":
                        raise ValueError("first: there are no captions yet; learn one of the loop's releases")
        if MAIN in self.arms:
            raise ValueError(f"arms: '{MAIN}' is the round itself; choose another name")
        if CAPTIONS in self.releases:
            raise ValueError(f"releases: '{CAPTIONS}' are those of each round; choose another name")
        return self

    def mixture(self, name: str) -> Mixture:
        """A mixture of the loop, its seed shifted. Raises ValueError with all that is wrong with it."""
        content = {"name": name, **self.mixtures[name]}
        try:
            mixture = parse_mixture(content, lambda path: f"mixtures.{name}")
        except ReleaseError as error:
            raise ValueError(str(error)) from None
        return mixture.model_copy(update={"seed": mixture.seed + self.seed})

    def learned_by(self, stages: tuple[Stage, ...]) -> set[str]:
        """The releases that stages learn, 'captions' among them, by themselves or in a mixture."""
        found: set[str] = set()
        for stage in stages:
            for name in (stage.learn, *stage.mix):
                parts = self.mixture(name).parts.values() if name in self.mixtures else ()
                found.update([release for part in parts for release in part.release or ()] if parts else [name])
        return found

    def chains(self) -> dict[str, tuple[Stage, ...]]:
        """Every chain of stages by where it stands in the file."""
        chains = {"round": self.round} | ({} if isinstance(self.first, str) else {"first": self.first})
        return chains | {f"arms.{name}.stages": arm.stages for name, arm in self.arms.items() if arm.stages}

    def recipe(self, which: str, data: dict[str, Any], model: str | None, **changes: Any) -> Recipe:
        """One of the loop's recipes made concrete: the captioner's directory put in, its seed shifted, keys changed.

        Raises RecipeError, with `which` as the file.
        """
        content = {"name": f"{self.name}-{which}", **data} | changes
        content["seed"] = int(content.get("seed", 0)) + self.seed
        if model is not None and isinstance(content.get("views"), (list, tuple)):
            content["views"] = [
                view | {"model": model} if isinstance(view, dict) and view.get("model") == CAPTIONER else view
                for view in content["views"]
            ]
        return parse_recipe(RecipeText(f"{which} of the loop {self.name}", content))


def load_loop(path: str | Path, overrides: tuple[str, ...] = ()) -> Loop:
    """Read a loop file and apply `--set` overrides. Its recipes may be paths of recipe files beside it.

    Raises:
        RecipeError: everything that is wrong with it, each with file and line and what to do.
    """
    text = read_yaml(path)
    if isinstance(text.data, dict):
        for holder, key in ((text.data, "caption"), (text.data.get("evaluate"), "recipe")):
            if isinstance(holder, dict) and isinstance(holder.get(key), str):
                holder[key] = read_yaml(Path(path).parent / holder[key]).data
    return with_overrides(text, overrides, _parse_loop)


def _parse_loop(text: RecipeText) -> Loop:
    loop = parse_part(text, Loop)
    model = loop.first if isinstance(loop.first, str) else loop.base
    problems = []
    for which, data in (("caption", loop.caption), ("evaluate", loop.evaluate.recipe)):
        recipe = loop.recipe(which, data, model)
        if not any(view.get("model") == CAPTIONER for view in data["views"] if isinstance(view, dict)):
            problems.append(
                f"{text.file}: {which}: no view says `model: {CAPTIONER}`, so no round would change anything"
            )
        names = [use.name for use in recipe.filters]
        if which == "evaluate" and loop.evaluate.by not in ["truth", *names]:
            problems.append(f"{text.file}: evaluate.by: '{loop.evaluate.by}' is not truth, nor a filter of its recipe")
        if which == "evaluate" and loop.evaluate.by == "truth" and recipe.source.kind != "demo":
            problems.append(
                f"{text.file}: evaluate.by: only the demo world knows its truth; name a filter of the recipe"
            )
        if which == "caption" and loop.guard.judge is not None and loop.guard.judge not in names:
            problems.append(f"{text.file}: guard.judge: '{loop.guard.judge}' is not a filter of the captioning recipe")
    if problems:
        raise RecipeError(problems)
    return loop
