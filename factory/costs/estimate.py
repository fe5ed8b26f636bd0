"""What so many images will cost, by what others cost: a start that is paid once, and a price an image for each part of the work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from factory.costs.interval import Interval, Z, share_of
from factory.costs.run_costs import RunCosts

NOISE: Final = 0.1
"""Share by which the same work differs on the same machine from one time to another, at least."""
START_NOISE: Final = 0.3
"""The same of starts, of which there are few."""
AFTER: Final = ("fuse", "score", "repair")
"""Phases in which engines may be asked; their engines' starts are `after_start` among the seconds."""
RECENT: Final = 5


@dataclass(frozen=True)
class Estimate:
    """Of `images` rows of a source. Seconds are of the wall; `parts` of them add up to `seconds`."""

    images: int
    parts: Mapping[str, Interval]
    captions: Interval
    kept: Interval  # captions
    prompt_tokens: Interval
    output_tokens: Interval
    cut_share: Interval  # of the captions, those that end at max_tokens
    stored_bytes: Interval
    released_bytes: Interval
    stages: Mapping[str, float]  # milliseconds an image, of what was measured apart; `image`: all of a bare engine
    of: int  # images that it is told from
    engines: int

    @property
    def seconds(self) -> Interval:
        """All of it."""
        total = Interval.exactly(0.0)
        for part in self.parts.values():
            total += part
        return total

    @property
    def slowest(self) -> str | None:
        """The stage that takes longest an image: preparing, rendering, encoding or decoding; None where none was measured."""
        stages = {name: value for name, value in self.stages.items() if name != "image"}
        return max(stages, key=stages.__getitem__) if stages else None


def estimate(past: Sequence[RunCosts], images: int) -> Estimate:
    """What `images` rows cost, from at least one execution; that with the nearest number of images counts, the others tell how
    much starts differ.
    """
    nearest = min(past, key=lambda one: (abs(math.log(one.images / images)), -one.at))
    parts = {"start": _start(past[-RECENT:])}
    parts["caption"] = _caption(nearest).times(images)
    for phase in nearest.seconds:
        if phase not in ("caption", "total", "after_start", "after_work", "measure"):
            parts[phase] = _phase(nearest, phase, images)
    parts["after captions"] = Interval.around(nearest.seconds.get("after_work", 0.0) / nearest.images * images, NOISE)
    parts["rest"] = Interval.around(_rest(nearest), START_NOISE)
    share, spread = images / nearest.images, _spread(nearest)
    captions = Interval.around(nearest.captions * share, 0.0)
    return Estimate(
        images,
        {name: part for name, part in parts.items() if part.high > 0},
        captions,
        captions.times(share_of(nearest.kept, nearest.captions)),
        Interval.around(nearest.prompt_tokens * share, spread),
        Interval.around(nearest.output_tokens * share, spread),
        share_of(nearest.truncated, nearest.captions),
        Interval.around(nearest.stored_bytes * share, NOISE),
        Interval.around(nearest.released_bytes * share, NOISE),
        nearest.rates,
        nearest.images,
        nearest.engines,
    )


def _start(past: Sequence[RunCosts]) -> Interval:
    """Ray and engines, and their last captions: paid once."""
    starts = [one.used.get("start", 0.0) + one.seconds.get("after_start", 0.0) for one in past]
    middle = sum(starts) / len(starts)
    noise = START_NOISE / math.sqrt(len(starts))
    return Interval(min(*starts, middle / (1 + noise)), middle, max(*starts, middle * (1 + noise)))


def _caption(costs: RunCosts) -> Interval:
    """Seconds an image, once engines are up.

    At most what it took, the last captions ending included, which is paid once by a larger run; at least what full engines
    would have taken. The bare engine's time, with the questions', is between them.
    """
    used = {name: costs.used.get(name, 0.0) for name in ("starved", "captions", "questions", "drained")}
    most = sum(used.values()) / costs.images
    least = most - used["drained"] / costs.images
    likely = most
    bare = costs.rates.get("image", 0.0) / 1000 / costs.engines
    if bare and used["captions"] > 0:
        asked = 1 + used["questions"] / used["captions"]
        likely = min(most, max(least, bare * asked))
    noise = math.hypot(NOISE, _spread(costs))
    return Interval(min(least, likely / (1 + noise)), likely, max(most, likely * (1 + noise)))


def _phase(costs: RunCosts, phase: str, images: int) -> Interval:
    """Seconds of a phase of the processor: with its measured price an image, else between paid once and paid an image."""
    seconds = costs.seconds[phase]
    if phase in AFTER:  # what engines did there is told apart
        whole = sum(costs.seconds.get(one, 0.0) for one in AFTER)
        asked = costs.seconds.get("after_start", 0.0) + costs.seconds.get("after_work", 0.0)
        seconds *= max(0.0, 1 - asked / whole) if whole > 0 else 1.0
    slope = costs.slopes.get(phase)
    if slope is not None:
        slope = min(slope, seconds / costs.images)
        return Interval.around(seconds + slope * (images - costs.images), NOISE)
    once, each = seconds, seconds * images / costs.images
    return Interval(min(once, each), math.sqrt(once * each), max(once, each))


def _rest(costs: RunCosts) -> float:
    named = sum(value for name, value in costs.seconds.items() if name not in ("total", "after_start", "after_work"))
    return max(0.0, costs.seconds["total"] - named)


def _spread(costs: RunCosts) -> float:
    """Half the 95 % interval of the mean length of a caption, as a share of it."""
    if not costs.captions or not costs.output_tokens:
        return 0.0
    mean = costs.output_tokens / costs.captions
    return Z * math.sqrt(max(0.0, costs.output_variance) / costs.captions) / mean
