"""Speeds of bare engines on this machine, measured once for each model, engine setting, image size and length."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from factory.costs.cache import remember, remembered
from factory.costs.machine import machine_id, machine_words
from factory.engines.bare_speed import BareLoad, BareSpeed
from factory.runs.clock import now_ms
from factory.work.fingerprint import fingerprint

if TYPE_CHECKING:
    from typing import Any

FILE: Final = "bare-speeds"
STEP: Final = 1.25
"""Sizes and lengths within this factor count as the same: a speed differs by less than they do."""


def bare_key(load: BareLoad) -> str:
    """What a measured speed holds for: machine, weights, engine arguments, sampling, and about this size and length."""
    view = load.ready.view
    lora = load.ready.lora.identity if load.ready.lora else None
    sampling = [view.sampling.n, view.sampling.temperature > 0]
    size = [_step(load.width * load.height), _step(load.tokens)]
    return fingerprint("bare", [machine_id(), load.ready.model.identity, lora, view.engine, *sampling, *size])


def known_speed(load: BareLoad) -> BareSpeed | None:
    """The newest speed measured for such a load; None where there is none."""
    key = bare_key(load)
    for record in reversed(remembered(FILE)):
        if record.get("key") == key:
            try:
                return _speed(record["speed"])
            except (KeyError, TypeError, ValueError):
                continue
    return None


def remember_speed(load: BareLoad, speed: BareSpeed) -> None:
    """Keep a measured speed."""
    model = load.ready.view.model_name
    remember(
        FILE,
        {"key": bare_key(load), "at": now_ms(), "model": model, "machine": machine_words(), "speed": asdict(speed)},
    )


def _speed(values: dict[str, Any]) -> BareSpeed:
    speed = BareSpeed(**{name: float(value) for name, value in values.items()})
    if not all(math.isfinite(value) and value > 0 for value in asdict(speed).values()):
        raise ValueError("no speed")
    return speed


def _step(number: float) -> int:
    return round(math.log(max(1.0, number), STEP))
