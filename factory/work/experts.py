"""The experts of a recipe made concrete: looked for, and fingerprinted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.errors import RecipeError
from factory.experts.child_process import ExpertOrder
from factory.experts.contract import Expert, ExpertError
from factory.work.fingerprint import fingerprint
from factory.work.prompts import places

if TYPE_CHECKING:
    from factory.recipe import Recipe


@dataclass(frozen=True)
class ExpertPlan:
    """Images that an expert has looked at, and those it is still to look at, at most; None where only reading the source tells.

    `asked_by`: the views whose prompts ask for it; of an expert that none asks for, nothing is done.
    """

    name: str
    kind: str
    asked_by: tuple[str, ...]
    reused: int
    to_look: int | None

    def line(self) -> str:
        """For a terminal."""
        if not self.asked_by:
            return f"expert {self.name} ({self.kind}): no prompt asks for it, so it does not run; write {{{self.name}}} into one"
        what = "the rows not yet read" if self.to_look is None else f"{self.to_look:,} at most"
        return f"expert {self.name} ({self.kind}): {self.reused:,} images reused, {what} to look at, for {', '.join(self.asked_by)}"


@dataclass(frozen=True)
class ReadyExpert:
    """An expert that a prompt asks for, with what identifies its findings. Travels to workers."""

    name: str
    kind: str
    order: ExpertOrder
    fingerprint: str


def ready_experts(recipe: Recipe) -> tuple[ReadyExpert, ...]:
    """The experts that prompts ask for, in the order of the recipe.

    Raises RecipeError: a package, a model or code that they need is not there.
    """
    prompts = [prompt.text for view in recipe.views for prompt in view.prompts]
    prompts += [rung.prompt for rung in (recipe.repair.regenerate if recipe.repair else ()) if rung.prompt]
    asked = {name for prompt in prompts for name in places(prompt)}
    ready, problems = [], []
    for name, expert in recipe.experts.items():
        if name in asked:
            try:
                expert.check()
                ready.append(ReadyExpert(name, expert.kind, ExpertOrder.of(expert), expert_fingerprint(expert)))
            except ExpertError as error:
                problems.append(f"experts.{name}: {error}")
    if problems:
        raise RecipeError(problems)
    return tuple(ready)


def expert_fingerprint(expert: Expert) -> str:
    """Identifies what an expert finds: kind, version, parameters, models, and of a user's own its code."""
    return fingerprint("expert", expert.content())
