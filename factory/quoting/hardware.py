"""Graphics cards: what an hour of one costs, and how fast it is by its data sheet. Small tables, dated, with their sources."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from factory.costs.interval import Interval

PRICED_ON: Final = "2026-11-09"
"""When the youngest of the prices was read. Prices move weekly: give your own with --price."""


@dataclass(frozen=True)
class Card:
    """A graphics card. Prices are US dollars an hour of one, on demand: a marketplace's, a usual one, and a dear cloud's.

    `teraflops`: dense, in 16 bits; `gigabytes`: memory; `gigabytes_per_s`: its bandwidth.
    """

    name: str
    price: Interval
    price_source: str
    teraflops: float
    gigabytes: float
    gigabytes_per_s: float
    sheet: str


CARDS: Final = {
    card.name: card
    for card in (
        Card(
            "h100",
            Interval(2.69, 3.49, 4.29),
            "H100 SXM: RunPod community and secure (runpod.io/pricing, read 2026-11-09 and 2026-09-25), Lambda (lambda.ai/pricing, "
            "read 2026-09-25)",
            989.0,
            80.0,
            3350.0,
            "NVIDIA H100 data sheet, SXM",
        ),
        Card(
            "h200",
            Interval(3.59, 4.59, 5.00),
            "RunPod (runpod.io/pricing, read 2026-10-07) and other clouds, autumn 2026",
            989.0,
            141.0,
            4800.0,
            "NVIDIA H200 data sheet, SXM",
        ),
        Card(
            "b200",
            Interval(5.00, 6.79, 7.15),
            "Akash (akash.network/pricing/gpus, read 2026-09-20), RunPod (runpod.io/pricing, read 2026-10-07) and other clouds",
            2250.0,
            180.0,
            8000.0,
            "NVIDIA DGX B200 data sheet, per GPU",
        ),
        Card(
            "a100",
            Interval(1.39, 1.79, 3.43),
            "A100 SXM 80 GB: RunPod community and secure (runpod.io/pricing), AWS p4de (us-east-1), read 2026-11-09",
            312.0,
            80.0,
            2039.0,
            "NVIDIA A100 data sheet, SXM 80 GB",
        ),
        Card(
            "l40s",
            Interval(0.79, 1.40, 1.80),
            "RunPod (runpod.io/pricing, as of March 2026) and other clouds, autumn 2026",
            362.0,
            48.0,
            864.0,
            "NVIDIA L40S data sheet",
        ),
    )
}


def card_named(name: str) -> Card | None:
    """The card that a name means: ours, or one that nvidia-smi gives, as "NVIDIA H100 80GB HBM3"."""
    words = set(re.findall(r"[a-z]+\d+[a-z]*", name.lower()))
    return next((card for card in CARDS.values() if card.name in words), None)
