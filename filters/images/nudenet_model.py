"""NudeNet, a detector of naked bodies whose weights come inside its package (extra `nsfw`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from filters.contract.filter import FilterError
from filters.models.fasttext_model import sha256

NUDENET: Final = "nudenet"
"""The name by which a recipe asks for it."""
LABELS: Final = (
    *tuple(
        f"{part}_{state}"
        for part in (
            *("FEMALE_GENITALIA", "MALE_GENITALIA", "FEMALE_BREAST", "MALE_BREAST", "BUTTOCKS", "ANUS"),
            *("FEET", "BELLY", "ARMPITS"),
        )
        for state in ("EXPOSED", "COVERED")
        if (part, state) not in (("MALE_GENITALIA", "COVERED"), ("MALE_BREAST", "COVERED"))
    ),
    "FACE_FEMALE",
    "FACE_MALE",
)
"""What it tells apart (NudeNet 3.4)."""
UNSAFE: Final = frozenset(
    f"{part}_EXPOSED" for part in ("FEMALE_GENITALIA", "MALE_GENITALIA", "FEMALE_BREAST", "BUTTOCKS", "ANUS")
)
_WEIGHTS: Final = "320n.onnx"


class NudeNet:
    """The detector as a classifier: an image's probability of a label is that of its surest box with it."""

    independent: Final = True

    def __init__(self, detector: Any) -> None:
        self._detector = detector
        self.labels = list(LABELS)

    def probabilities(self, images: Sequence[Any]) -> list[dict[str, float]]:
        """Each image's probability by label; 0 for what no box of 0.2 and more has."""
        return [self._one(np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])) for image in images]

    def _one(self, bgr: np.ndarray[Any, Any]) -> dict[str, float]:
        chances = dict.fromkeys(LABELS, 0.0)
        for box in self._detector.detect(bgr):
            chances[box["class"]] = max(chances[box["class"]], min(1.0, float(box["score"])))
        return chances


def identity(asked_by: str) -> str:
    """Which weights are used. Raises FilterError where the package is missing."""
    return f"{NUDENET}:{sha256(_folder(asked_by) / _WEIGHTS)}"


@lru_cache(maxsize=1)
def load(asked_by: str) -> NudeNet:
    """The detector, on the processor. Raises FilterError where the package is missing."""
    _folder(asked_by)
    try:
        from nudenet import NudeDetector
    except ImportError as error:
        raise FilterError(f"{asked_by}: {_missing(str(error))}") from error
    return NudeNet(NudeDetector(providers=["CPUExecutionProvider"]))


def _folder(asked_by: str) -> Path:
    found = find_spec("nudenet")
    if found is None or found.origin is None:
        raise FilterError(f"{asked_by}: {_missing('it is not installed')}")
    return Path(found.origin).parent


def _missing(why: str) -> str:
    return f"the model 'nudenet' needs the package nudenet ({why}): `pip install 'caption-factory[nsfw]'`."
