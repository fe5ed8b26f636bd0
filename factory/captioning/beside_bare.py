"""What was captioned, beside what the bare engine does with the same images and lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from factory.costs.bare_speeds import known_speed, remember_speed
from factory.engines.bare_speed import BareLoad, BareSpeed
from factory.runs import tables

if TYPE_CHECKING:
    from factory.engines.pool import EnginePool
    from factory.work.views import EngineGroup
    from factory.work.work import Work

SHARE: Final = 0.05
"""Of the time that captions took: more than that is not spent on measuring, unless it is asked for."""
MOST_SECONDS: Final = 30.0
LEAST_REQUESTS: Final = 32
LEAST_ROUND: Final = 0.5
"""Of the requests that the engine runs at once; fewer do not fill it."""
ROUNDS: Final = 2


@dataclass(frozen=True)
class BesideBare:
    """Tokens of the captions that an engine group made, by so many engines; and its bare speed, None: not measured yet."""

    model: str
    tokens: int
    engines: int
    bare: BareSpeed | None
    measuring: float = 0.0  # seconds spent on it just now

    @property
    def ideal_seconds(self) -> float | None:
        """Seconds in which the bare engines would have made them."""
        return None if self.bare is None else self.tokens / (self.bare.tokens_per_s * self.engines)


def beside_bare(
    work: Work, group: EngineGroup, pool: EnginePool, tokens: int, seconds: float, always: bool
) -> BesideBare:
    """Look up the group's bare speed; measure it with the running engine where nobody has and it is cheap.

    Args:
        work, group, pool: whose captions, and the engines that made them.
        tokens: of the captions made just now.
        seconds: that this took.
        always: measure though it takes more than SHARE of that.
    """
    load = None if group.server is not None else _load(work, group)  # a server's bare speed is not ours to measure
    bare, measuring = None, 0.0
    if load is not None:
        bare = known_speed(load)
        together = int(group.first.view.engine.get("max_num_seqs", pool.rows // 4))
        most = MOST_SECONDS if always else min(MOST_SECONDS, seconds * SHARE)
        rate = tokens / load.tokens / load.ready.view.sampling.n / seconds
        requests = min(ROUNDS * together, max(int(rate * most), LEAST_REQUESTS if always else 0))
        enough = requests >= LEAST_REQUESTS and (always or requests >= LEAST_ROUND * together)
        if bare is None and enough:
            bare = _measured(pool, BareLoad(load.ready, load.width, load.height, load.tokens, requests))
            if bare is not None:
                remember_speed(load, bare)
                measuring = bare.seconds
    return BesideBare(group.first.view.model_name, tokens, max(1, len(pool.engines)), bare, measuring)


def _load(work: Work, group: EngineGroup) -> BareLoad | None:
    """An image and a caption as the group's are in the middle."""
    rows = work.run.scan("captions", tables.CAPTIONS).filter(
        pl.col("view") == group.first.name, pl.col("fingerprint").is_in(group.first.fingerprints)
    )
    mean = rows.select(pl.col("width", "height", "output_tokens").mean()).collect(engine="streaming").row(0)
    if any(value is None for value in mean):
        return None
    width, height, tokens = (max(1, round(value)) for value in mean)
    return BareLoad(group.first, width, height, tokens, 0)


def _measured(pool: EnginePool, load: BareLoad) -> BareSpeed | None:
    try:
        speed: BareSpeed | None = pool.ray.get(pool.engines[0].actor.bare.remote(load))
    except pool.ray.exceptions.RayError:  # captions are made; they do not fail for a measurement
        return None
    return speed
