"""The experts of a recipe made concrete: looked for, and fingerprinted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.errors import RecipeError
from factory.experts.child_process import ExpertOrder
from factory.experts.expert import Expert, ExpertError
from factory.work.fingerprint import fingerprint
from factory.work.prompts import places

if TYPE_CHECKING:
    from factory.recipe import Recipe


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
