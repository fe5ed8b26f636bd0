"""Seconds on a card that is not here: by its data sheet and by how much of that others reached. Wide, and said to be so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from factory.costs.estimate import Estimate
from factory.costs.interval import Interval
from factory.engines.memory import weight_bytes
from factory.errors import RunError
from factory.quoting.hardware import Card

if TYPE_CHECKING:
    from factory.models.resolve import Model
    from factory.work.work import Work

REACHED: Final = Interval(0.12, 0.25, 0.4)
"""Share of a card's 16-bit peak that bulk generation reaches, over prompt and answer: 0.15 of the 8-bit peak, 0.3 of the 16-bit
one, in a published run of a 35B-A3B model on an H200 (1,024 tokens in, 128 out, 43.8 requests/s); 0.34 of an H100 by a reckoned
60 ms a caption of an 8B model at 1,000 image tokens. The low end is for small models, which no card is filled with.
"""
START: Final = Interval(60.0, 150.0, 360.0)
"""Seconds until a large model is loaded, compiled and warm."""
BYTES: Final[Mapping[str, float]] = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0}
CACHE_SHARE: Final = 0.85
"""Of a card's memory, that weights may take and leave room for the cache."""


def reasoned_seconds(work: Work, made: Estimate, card: Card) -> tuple[Interval, int]:
    """Seconds of the wall on one card, or as many as hold the largest model; and how many those are.

    Two floating-point operations for each weight and token (Kaplan et al. 2020, section 2.1), with the questions of filters as
    captions' prompts: they share what was measured as `after captions`. What processors do, and the front of the engine, is
    taken as it is here.

    Raises:
        RunError: a model's weights are not on this disk, so nobody knows how large it is.
    """
    sizes = {ready.model.identity: _weights(ready.model, ready.view.model_name) for ready in work.views}
    parameters = sum(sizes[ready.model.identity][0] for ready in work.views) / len(work.views)
    cards = max(1, *(-(-size // int(card.gigabytes * 1e9 * CACHE_SHARE)) for _, size in sizes.values()))
    tokens = made.prompt_tokens + made.output_tokens
    peak = card.teraflops * 1e12
    work_seconds = tokens.times(2 * parameters / peak)
    seconds = Interval(work_seconds.low / REACHED.high, work_seconds.mid / REACHED.mid, work_seconds.high / REACHED.low)
    front = made.stages.get("rendering", 0.0) / 1000 * made.images
    seconds = seconds.at_least(Interval(front / 4, front, front * 1.5)) if front else seconds
    beside = Interval.exactly(0.0)
    for name, part in made.parts.items():
        if name not in ("start", "caption", "after captions"):
            beside += part
    return START + seconds + beside, cards


def _weights(model: Model, name: str) -> tuple[float, int]:
    """Parameters and bytes of a model."""
    size = weight_bytes(model)
    if size is None:
        raise RunError(
            f"{name}: its weights are not on this disk, so their number is not known; download it, or quote where it is"
        )
    config = _config(model)
    dtype = config.get("dtype") or config.get("torch_dtype") or config.get("text_config", {}).get("dtype") or "bfloat16"
    return size / BYTES.get(str(dtype), 2.0), size


def _config(model: Model) -> dict[str, Any]:
    folder = Path(model.path)
    if not model.is_local:
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(model.path, revision=model.revision, local_files_only=True))
    try:
        found = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
