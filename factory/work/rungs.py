"""The ladder of a recipe's `repair`, made concrete: each rung as views that write captions again.

Rungs that people asked for by hand (`factory run --retry`) are kept in the run, so that their captions count from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from factory.errors import RunError
from factory.recipe import Prompt, Recipe, Rung, View
from factory.runs.run import Run
from factory.runs.tables import MOST_RUNGS
from factory.work.fingerprint import caption_fingerprint, rung_fingerprint
from factory.work.views import ReadyView, asked_of

RETRIES: Final = "retries.json"
FIRST_RETRY: Final = 50
"""The number of the first retry by hand, beyond any ladder of a recipe."""
RETRY_TEMPERATURE: Final = 0.7
"""The least temperature of a retry by hand: at the view's own 0 it would write the same again."""
SEED_STEP: Final = 1_000_003

What = Literal["unfaithful", "truncated"]


@dataclass(frozen=True)
class ReadyRung:
    """One more try, for images and views whose captions are all `what`. `number` counts from 1."""

    number: int
    what: What
    views: tuple[ReadyView, ...]


def rungs_of(recipe: Recipe, run: Run, views: Sequence[ReadyView]) -> list[ReadyRung]:
    """The rungs of the recipe, then those that were asked for by hand, in their order. Fusions follow what they are made from."""
    views = [one for one in views if not one.view.made_from]
    ladder = recipe.repair.regenerate if recipe.repair else ()
    made = [
        ReadyRung(number, "unfaithful", tuple(_ready(one, rung, number, recipe) for one in views))
        for number, rung in enumerate(ladder, start=1)
    ]
    for retry in run.read_json(RETRIES) or ():
        what, number = retry["what"], retry["number"]
        if what == "unfaithful" and recipe.repair is None:
            continue  # nobody says any more what that is
        again = [_ready(one, _by_hand(what, retry["times"], one.view), number, recipe) for one in views]
        made.append(ReadyRung(number, what, tuple(again)))
    return made


def add_retries(recipe: Recipe, run: Run, whats: Sequence[What]) -> None:
    """Keep in the run that these are tried once more. One that was asked for and has made no caption yet is not asked twice.

    Raises:
        RunError: the recipe does not say what is unfaithful, or which candidate is kept; or it was tried too often.
    """
    before: list[dict[str, Any]] = run.read_json(RETRIES) or []
    for what in whats:
        if what == "unfaithful" and recipe.repair is None:
            raise RunError(
                "--retry unfaithful: the recipe does not say which captions are unfaithful; add repair: {by: FILTER, least: 0.5, "
                "cut: true} and select.best_of"
            )
        if what == "truncated" and recipe.select.best_of is None and "truncated" in recipe.select.accept:
            raise RunError(
                "--retry truncated: the recipe keeps truncated captions, so an image would keep both; set select.best_of"
            )
        if _is_pending(recipe, run, before, what):
            continue  # asked for before, and stopped before it was done
        number = max([FIRST_RETRY - 1, *(one["number"] for one in before)]) + 1
        if number > MOST_RUNGS:
            raise RunError(f"--retry: this run was tried again {len(before)} times already; start anew with --fresh")
        before.append({"number": number, "what": what, "times": sum(one["what"] == what for one in before) + 1})
    if whats:
        run.write_json(RETRIES, before)


def _is_pending(recipe: Recipe, run: Run, before: Sequence[dict[str, Any]], what: What) -> bool:
    """Whether the last retry of this kind has made nothing yet: the run stopped before it, or has nothing to try."""
    import polars as pl

    from factory.runs import tables

    last = max((one["number"] for one in before if one["what"] == what), default=None)
    if last is None:
        return False
    made = run.scan("captions", tables.CAPTIONS).filter(pl.col("rung") == last)
    return made.head(1).collect().is_empty()


def _by_hand(what: What, times: int, view: View) -> Rung:
    temperature = view.sampling.temperature
    if what == "truncated":
        return Rung(max_tokens=view.sampling.max_tokens * 2**times, temperature=temperature)
    return Rung(temperature=max(RETRY_TEMPERATURE, temperature))


def _ready(ready: ReadyView, rung: Rung, number: int, recipe: Recipe) -> ReadyView:
    prompts = (Prompt(text=rung.prompt, id=f"rung-{number}"),) if rung.prompt is not None else ready.view.prompts
    view: View = ready.view.model_copy(update={"sampling": rung.sampling(ready.view), "prompts": prompts})
    seed = recipe.seed + SEED_STEP * number
    fingerprints = tuple(
        rung_fingerprint(
            caption_fingerprint(view, prompt, seed, ready.identity, asked_of(prompt, ready.experts)), number
        )
        for prompt in view.prompts
    )
    return replace(ready, view=view, fingerprints=fingerprints, seed=seed, rung=number)
