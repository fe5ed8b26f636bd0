"""What an engine does that has nothing else to do: the same images, prompts and lengths, no reading, asking or writing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from factory.engines.contract import RequestRefused, RequestTimeout

if TYPE_CHECKING:
    from factory.engines.vllm_engine import Engine
    from factory.work.views import ReadyView

RENDERED: Final = 4
FIRST_TOKENS: Final = 4
"""A part of the requests is made for one token: what comes before the first."""


@dataclass(frozen=True, slots=True)
class BareLoad:
    """Requests as a run made them: images of `width` x `height` pixels, candidates of `tokens` tokens each."""

    ready: ReadyView
    width: int
    height: int
    tokens: int
    requests: int


@dataclass(frozen=True, slots=True)
class BareSpeed:
    """What an engine did with them. Milliseconds are an image's, of the wall time of a full engine."""

    tokens_per_s: float
    images_per_s: float
    render_ms: float  # of one image by the processor alone, one after the other
    first_ms: float  # up to the first token: rendering, encoding and the prompt
    image_ms: float  # all of it
    seconds: float  # that measuring took


async def measure_bare(engine: Engine, load: BareLoad) -> BareSpeed | None:
    """Fill the engine with the load and nothing else. None where it refuses such requests.

    Raises:
        EngineDied: the engine is gone.
    """
    from PIL import Image

    began = time.monotonic()
    # Noise, so that it costs what a photograph costs; a pixel more or less makes no other work.
    picture = Image.effect_noise((load.width, load.height), 64).convert("RGB")
    ready, number = load.ready, iter(range(10**9))
    prompt = ready.view.prompts[0].text

    async def ask(tokens: int) -> int:
        name = f"bare-{next(number)}"
        return await engine.generate_exactly(ready, prompt, picture.copy, name, tokens)

    try:
        await ask(1)
        first = max(1, load.requests // FIRST_TOKENS)
        first_seconds, _ = await _timed(lambda: ask(1), first)
        seconds, tokens = await _timed(lambda: ask(load.tokens), load.requests)
    except (RequestRefused, RequestTimeout):
        return None
    render = time.perf_counter()
    for _ in range(RENDERED):
        await asyncio.to_thread(engine.render_image, ready, prompt, picture)
    render_ms = (time.perf_counter() - render) * 1000 / RENDERED
    rate = load.requests / seconds
    return BareSpeed(
        tokens / seconds, rate, render_ms, first_seconds * 1000 / first, 1000 / rate, time.monotonic() - began
    )


async def _timed(ask: Callable[[], Awaitable[int]], times: int) -> tuple[float, int]:
    """Seconds and tokens of as many requests, made at once."""
    started = time.monotonic()
    made = await asyncio.gather(*(ask() for _ in range(times)))
    return max(1e-6, time.monotonic() - started), sum(made)
