"""A quote: what a run will take, cost, store and send, for one kind of hardware, each from least to most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from factory.costs.estimate import Estimate
from factory.costs.interval import Interval
from factory.quoting.hardware import CARDS, PRICED_ON

GB = 1e9


@dataclass(frozen=True)
class Quote:
    """`estimate` says what has to be made; `seconds` of the wall and `gpus` on `hardware`.

    `price`: US dollars an hour of one GPU (of the machine, where it has none), None where nobody said. `by`: how it is known.
    """

    hardware: str
    by: str
    estimate: Estimate
    seconds: Interval
    gpus: int
    price: Interval | None
    price_source: str
    mean_bytes: float | None  # of a source's file; None where it was not looked at
    is_reasoned: bool = False  # from data sheets, not measured

    @property
    def gpu_hours(self) -> Interval:
        """GPUs times hours; 0 without GPUs."""
        return self.seconds.times(self.gpus / 3600)

    @property
    def money(self) -> Interval | None:
        """US dollars."""
        return None if self.price is None else self.seconds.times(max(1, self.gpus) / 3600).times(self.price)

    @property
    def per_kept_caption(self) -> Interval | None:
        """US dollars a kept caption; None where no price is known or nothing may be kept."""
        return None if self.money is None else self.money.over(self.estimate.kept)

    @property
    def stored_bytes(self) -> Interval:
        """The run's tables and the release."""
        return self.estimate.stored_bytes + self.estimate.released_bytes

    @property
    def read_bytes(self) -> Interval | None:
        """Of the source, once; what a source on another machine has to send."""
        return None if self.mean_bytes is None else Interval.around(self.mean_bytes * self.estimate.images, 0.1)

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        made = self.estimate
        yield f"on {self.hardware}, {self.by}:"
        yield f"  time      {_time(self.seconds)}"
        if self.gpus:
            yield f"  GPU-hours {_range(self.gpu_hours, '{:,.2f}')}"
        if self.money is not None:
            each = self.per_kept_caption
            yield f"  money     {_range(self.money, '${:,.2f}')} ({self.price_source})"
            if each is not None:
                yield f"  a kept caption {_range(each.times(1000), '${:,.4f}')} a thousand"
        else:
            yield "  money     unknown: give the price of an hour with --price"
        if not self.is_reasoned:
            parts = sorted(made.parts.items(), key=lambda one: -one[1].mid)
            yield f"  of it     {', '.join(f'{name} {part.mid:,.0f} s' for name, part in parts if part.mid >= 0.5)}"

    def as_json(self) -> dict[str, Any]:
        """As JSON data; intervals are [low, mid, high]."""
        money, each, read = self.money, self.per_kept_caption, self.read_bytes
        return {
            "hardware": self.hardware,
            "by": self.by,
            "reasoned": self.is_reasoned,
            "seconds": self.seconds.as_json(),
            "parts_s": {name: part.as_json() for name, part in self.estimate.parts.items()},
            "gpus": self.gpus,
            "gpu_hours": self.gpu_hours.as_json(),
            "price_per_hour": None if self.price is None else self.price.as_json(),
            "price_source": self.price_source,
            "money": None if money is None else money.as_json(),
            "per_kept_caption": None if each is None else each.as_json(),
            "stored_bytes": self.stored_bytes.as_json(),
            "sent_bytes": self.estimate.released_bytes.as_json(),
            "read_bytes": None if read is None else read.as_json(),
        }


@dataclass(frozen=True, repr=False)
class Quotes:
    """What was asked for, on each kind of hardware. Printed, it is its lines."""

    recipe: str
    quotes: tuple[Quote, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """For a terminal."""
        first = self.quotes[0]
        made = first.estimate
        lines = [
            f"quote of {self.recipe} for {made.images:,} images, from {made.of:,}",
            f"captions  {made.captions.mid:,.0f}, kept {_range(made.kept, '{:,.0f}')}; end at max_tokens {_range(made.cut_share, '{:.1%}')}",
            f"tokens    {_range(made.prompt_tokens, '{:,.0f}')} in, {_range(made.output_tokens, '{:,.0f}')} out",
        ]
        if made.slowest is not None:
            stages = ", ".join(f"{name} {value:,.1f} ms" for name, value in made.stages.items() if name != "image")
            lines.append(f"slowest   {made.slowest} ({stages} an image)")
        stored = _range(first.stored_bytes.times(1 / GB), "{:,.3f} GB")
        sent = _range(made.released_bytes.times(1 / GB), "{:,.3f} GB")
        read = (
            ""
            if first.read_bytes is None
            else f"; read from the source {_range(first.read_bytes.times(1 / GB), '{:,.3f} GB')}"
        )
        lines.append(f"bytes     {stored} stored; {sent} sent if the release is published{read}")
        for quote in self.quotes:
            lines += quote.lines()
        if any(quote.price_source and PRICED_ON in quote.price_source for quote in self.quotes):
            lines.append(f"prices move; known cards: {', '.join(CARDS)}; your own price: --price")
        return [*lines, *(f"note      {note}" for note in self.notes)]

    def as_json(self) -> dict[str, Any]:
        """As JSON data; intervals are [low, mid, high]."""
        made = self.quotes[0].estimate
        return {
            "recipe": self.recipe,
            "images": made.images,
            "from_images": made.of,
            "captions": made.captions.as_json(),
            "kept": made.kept.as_json(),
            "prompt_tokens": made.prompt_tokens.as_json(),
            "output_tokens": made.output_tokens.as_json(),
            "cut_share": made.cut_share.as_json(),
            "slowest": made.slowest,
            "stages_ms": dict(made.stages),
            "quotes": [quote.as_json() for quote in self.quotes],
            "notes": list(self.notes),
        }


def _range(value: Interval, form: str) -> str:
    if value.low == value.high:
        return form.format(value.mid)
    high = form.format(value.high) if math.isfinite(value.high) else "no bound"
    return f"{form.format(value.mid)} ({form.format(value.low)} to {high})"


def _time(value: Interval) -> str:
    low, mid, high = (_clock(one) for one in (value.low, value.mid, value.high))
    return f"{mid} ({low} to {high})"


def _clock(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:,.1f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 172_800 else f"{seconds / 86_400:,.1f} days"


def total(quotes: Sequence[Quotes]) -> Interval:
    """Seconds of all, on the first hardware of each."""
    seconds = Interval.exactly(0.0)
    for one in quotes:
        seconds += one.quotes[0].seconds
    return seconds
