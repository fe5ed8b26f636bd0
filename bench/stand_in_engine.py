"""An engine that only waits: it answers each request with made-up words after a known latency. For measuring all the rest."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from typing import TYPE_CHECKING, Any, Final

from factory.engines.contract import Completion
from factory.engines.engine_actor import EngineActor
from factory.engines.logs import redirect_output

if TYPE_CHECKING:
    from factory.work.views import EngineGroup

MODEL_NAME: Final = "stand-in-no-model"
"""Of the directory that recipes name as the model: no weights are in it."""
LATENCY_S: Final = 0.5
AT_ONCE: Final = 128
"""Requests that run together: with LATENCY_S 256 a second of each engine, 2,048 of eight."""
WORDS: Final = (
    "red",
    "blue",
    "green",
    "small",
    "large",
    "round",
    "square",
    "thing",
    "stands",
    "beside",
    "above",
    "house",
)


class StandInEngine:
    """What captioners and vLLM's engine have in common, without a model."""

    special: frozenset[str] = frozenset()
    template_sha256: str = "0" * 64
    label: str = "stand-in, no model"

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(AT_ONCE)
        self._latency_s = LATENCY_S

    async def generate(
        self, ready: Any, prompt: str, image: Any, image_id: str, sampling: Any, seed: int | None
    ) -> Any:
        """Words drawn by the image."""
        async with self._room:
            await asyncio.sleep(self._latency_s)
        digest = hashlib.sha256(image_id.encode()).digest()
        text = " ".join(WORDS[byte % len(WORDS)] for byte in digest[:20]).capitalize() + "."
        made = Completion(
            text=text,
            reasoning=None,
            reasoning_tokens=0,
            finish_reason="stop",
            stop_reason=None,
            prompt_tokens=300,
            output_tokens=24,
            mean_logprob=-0.4,
            min_logprob=-2.0,
            sentence_logprobs=[],
        )
        return [made] * sampling.n

    def stop(self) -> None:
        """Nothing is held."""


class StandInActor(EngineActor):
    """In the place of the actor that starts vLLM."""

    def __init__(self, served: EngineGroup, log: str | None) -> None:
        started = time.monotonic()
        self.log = redirect_output(log, "engine")
        self.engine = StandInEngine()
        self._duties = {}
        self.start_seconds = time.monotonic() - started


class PacedEngine(StandInEngine):
    """One request after the other, each taking the seconds that STAND_IN_PACE_S says."""

    def __init__(self) -> None:
        super().__init__()
        self._room = asyncio.Semaphore(1)
        self._latency_s = float(os.environ["STAND_IN_PACE_S"])


class PacedActor(StandInActor):
    """In the place of the actor that starts vLLM."""

    def __init__(self, served: EngineGroup, log: str | None) -> None:
        super().__init__(served, log)
        self.engine = PacedEngine()
