"""Quotes of a recipe: by a probe, by a run, or by what such runs cost on this machine before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from factory.costs.estimate import Estimate, estimate
from factory.costs.interval import Interval
from factory.costs.machine import machine, machine_id, machine_words
from factory.costs.quoted import remember_quote
from factory.costs.run_costs import RunCosts, cost_key, costs_of_json, past_costs
from factory.errors import RunError
from factory.quoting.hardware import CARDS, PRICED_ON, Card, card_named
from factory.quoting.probe import IMAGES, probe
from factory.quoting.quote import Quote, Quotes
from factory.quoting.reasoned import reasoned_seconds
from factory.runs.run import METRICS, Run
from factory.work.plan import Plan

LEAST_PAST: Final = IMAGES
"""Images that earlier runs must have had to be worth a quote without a probe."""
DEFAULT_IMAGES: Final = 1_000
"""Where nobody says how many and the source does not tell."""


def quote_recipe(
    plan: Plan,
    images: int | None = None,
    hardware: Sequence[str] = (),
    price: float | None = None,
    of_run: Run | None = None,
    sample: int = IMAGES,
    fresh: bool = False,
    quiet: bool = False,
) -> Quotes:
    """What so many images of a plan's source will take and cost. Kept, so that the run can say how wrong it was.

    Args:
        plan: of the recipe, made with a place for its listing (`scratch`), for its source is read.
        images: rows of the source; None: all it has.
        hardware: names of cards (`factory.quoting.hardware.CARDS`) beside this machine; () for this machine alone.
        price: US dollars an hour of a GPU, or of this machine where it has none; None: of the table.
        of_run: a finished run whose costs are used, instead of a probe.
        sample: images in the probe, where one is needed.
        fresh: probe although the past of this machine would do.
        quiet: no progress.

    Raises:
        RunError: the run has no costs, or a card is not known.
        FactoryError: whatever stops the probe.
    """
    cards = [_card(name) for name in hardware]
    count = images or plan.source_rows or DEFAULT_IMAGES
    notes = (
        [] if images or plan.source_rows else [f"the source does not tell how many rows it has; {count:,} are quoted"]
    )
    mean_bytes = None
    if of_run is not None:
        past, by = [_costs_of(of_run, plan)], f"by the run {of_run.url}"
    else:
        past = [] if fresh else [one for one in past_costs(plan.work) if one.images >= min(LEAST_PAST, count)]
        by = f"by {len(past)} earlier {'run' if len(past) == 1 else 'runs'} on this machine"
        if not past:
            costs, drawn = probe(plan, sample, quiet)
            past, by, mean_bytes = [costs], f"by a probe of {costs.images:,} images", drawn.mean_bytes
            notes.append(f"the probe's images were drawn from {drawn.looked_at:,}, by size")
    made = estimate(past, count)
    if past[-1].machine == machine_id():
        remember_quote(plan.work, count, made.seconds)
    quotes = [_here(made, by, price, mean_bytes)]
    quotes += [_there(plan, made, card, price, mean_bytes) for card in cards if not _is_here(card)]
    return Quotes(plan.work.recipe.name, tuple(quotes), tuple(notes))


def _costs_of(run: Run, plan: Plan) -> RunCosts:
    metrics = run.read_json(METRICS) or {}
    costs = costs_of_json(metrics.get("costs") or {})
    if costs is None:
        raise RunError(
            f"{run.url}: this run has no costs: it did not finish, was made in several goes, or by an older version"
        )
    if costs.key != cost_key(plan.work):
        raise RunError(
            f"{run.url}: this run was of another recipe (models, prompts, sampling, filters or rules differ)"
        )
    return costs


def _card(name: str) -> Card:
    card = card_named(name)
    if card is None:
        raise RunError(
            f"--hardware: '{name}' is not known; known are {', '.join(CARDS)}. Quote there, or give --price for this machine"
        )
    return card


def _is_here(card: Card) -> bool:
    return any(card_named(name) is card for name in machine()["gpus"])


def _here(made: Estimate, by: str, price: float | None, mean_bytes: float | None) -> Quote:
    gpus = machine()["gpus"]
    card = card_named(gpus[0]) if gpus else None
    cost, source = _price(card, price)
    return Quote(machine_words(), by, made, made.seconds, len(gpus), cost, source, mean_bytes)


def _there(plan: Plan, made: Estimate, card: Card, price: float | None, mean_bytes: float | None) -> Quote:
    seconds, cards = reasoned_seconds(plan.work, made, card)
    cost, source = _price(card, price)
    by = f"reasoned from the {card.sheet}, not measured"
    return Quote(f"{cards} x {card.name}", by, made, seconds, cards, cost, source, mean_bytes, is_reasoned=True)


def _price(card: Card | None, price: float | None) -> tuple[Interval | None, str]:
    if price is not None:
        return Interval.exactly(price), f"at ${price:g} an hour, as given"
    if card is None:
        return None, ""
    return (
        card.price,
        f"at ${card.price.low:g} to ${card.price.high:g} an hour; {card.price_source}; table of {PRICED_ON}",
    )
