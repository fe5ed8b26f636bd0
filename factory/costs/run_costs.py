"""What one execution of a recipe cost, and those of this machine's past. A quote is made from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

from factory.costs.cache import remember, remembered
from factory.costs.machine import machine_id
from factory.recipe import Recipe
from factory.work.fingerprint import fingerprint, source_identity
from factory.work.work import Work

FILE: Final = "run-costs"
NOT_COSTS: Final = {"name", "seed", "source", "plugins", "release"}
"""Keys of a recipe that decide what is captioned or how it is called, not what one image costs."""


@dataclass(frozen=True)
class RunCosts:
    """One execution that found nothing done. Seconds are of the wall, by phase; counts are of its images and captions."""

    key: str  # of the recipe, as `cost_key` gives it
    source: str  # identity of the source
    machine: str
    at: int  # milliseconds since 1970, UTC
    images: int  # rows of the source that it went through
    captions: int
    prompt_tokens: int  # of the captions of the first try
    output_tokens: int
    output_variance: float  # of the tokens of a caption
    truncated: int  # captions
    kept: int  # captions
    seconds: Mapping[str, float]  # by phase, and `total`
    used: Mapping[str, float]  # of `caption`, by factory.engines.use.PARTS
    engine_starts: int
    stored_bytes: int  # of the run directory
    released_bytes: int
    engines: int = 1
    rates: Mapping[str, float] = field(default_factory=dict)  # milliseconds an image, by stage; what was measured of it
    slopes: Mapping[str, float] = field(default_factory=dict)  # seconds an image, by phase, where it was measured apart


def cost_key(work: Work) -> str:
    """Identifies recipes whose images cost the same: models, prompts, sampling, filters, rules; not which images."""
    recipe: Recipe = work.recipe
    content = recipe.model_dump(mode="json", exclude=NOT_COSTS)
    models = [[ready.model.identity, ready.lora.identity if ready.lora else None] for ready in work.views]
    return fingerprint("cost", [content, models, recipe.release is not None])


def source_key(work: Work) -> str:
    """Identifies the source."""
    return fingerprint("source", source_identity(work.recipe))


def remember_costs(costs: RunCosts) -> None:
    """Add an execution to this machine's past."""
    remember(FILE, asdict(costs))


def past_costs(work: Work) -> list[RunCosts]:
    """What executions of such recipes cost on this machine: those of the same source, else of others; oldest first.

    What only a probe measures is taken from the newest one, whatever its source.
    """
    key, machine, source = cost_key(work), machine_id(), source_key(work)
    found = [costs_of_json(one) for one in remembered(FILE) if one.get("key") == key and one.get("machine") == machine]
    past = [one for one in found if one is not None]
    slopes = next((one.slopes for one in reversed(past) if one.slopes), {})
    rates = {name: value for one in past for name, value in one.rates.items()}
    past = [replace(one, slopes=one.slopes or slopes, rates={**rates, **one.rates}) for one in past]
    return [one for one in past if one.source == source] or past


def costs_of_json(record: Mapping[str, Any]) -> RunCosts | None:
    """A record as it was written; None where it is not one."""
    names = {one.name for one in fields(RunCosts)}
    try:
        costs = RunCosts(**{name: value for name, value in record.items() if name in names})
        numbers: list[float] = [costs.images, costs.captions, costs.kept, costs.stored_bytes, costs.released_bytes]
        maps = [costs.seconds, costs.used, costs.rates, costs.slopes]
        numbers += [value for some in maps for value in some.values()]
    except (TypeError, AttributeError):
        return None
    if not all(isinstance(one, int | float) and math.isfinite(one) and one >= 0 for one in numbers):
        return None
    return costs if costs.images > 0 and "total" in costs.seconds else None
