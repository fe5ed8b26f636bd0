"""Scores for captions: each filter gives each caption a number in [0, 1], higher is better.

>>> from filters import Repetition, score
>>> captions = ["a dog on a beach", "a dog on a beach a dog on a beach a dog on a beach"]
>>> score(captions, [Repetition()])["repetition"].to_list()
[1.0, 0.0]
"""

from filters.artifacts import Artifacts
from filters.boilerplate import Boilerplate
from filters.calibrating import calibrate
from filters.calibration import Calibration
from filters.contract import Filter, FilterError
from filters.hedging import Hedging
from filters.language import Language
from filters.length import Length
from filters.opener import Opener
from filters.pii import Pii
from filters.prompt_leak import PromptLeak
from filters.quality import Quality
from filters.quality_training import QualityTraining, train_quality
from filters.refusal import Refusal
from filters.registry import build, registered
from filters.repetition import Repetition
from filters.scoring import score
from filters.shape import Shape
from filters.token_confidence import TokenConfidence
from filters.toxicity import Toxicity
from filters.truncation import Truncation

__all__ = [
    "Artifacts",
    "Boilerplate",
    "Calibration",
    "Filter",
    "FilterError",
    "Hedging",
    "Language",
    "Length",
    "Opener",
    "Pii",
    "PromptLeak",
    "Quality",
    "QualityTraining",
    "Refusal",
    "Repetition",
    "Shape",
    "TokenConfidence",
    "Toxicity",
    "Truncation",
    "build",
    "calibrate",
    "registered",
    "score",
    "train_quality",
]
