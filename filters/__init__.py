"""Scores for captions: each filter gives each caption a number in [0, 1], higher is better.

>>> from filters import Repetition, score
>>> captions = ["a dog on a beach", "a dog on a beach a dog on a beach a dog on a beach"]
>>> score(captions, [Repetition()])["repetition"].to_list()
[1.0, 0.0]
"""

from filters.contract import Filter, FilterError
from filters.length import Length
from filters.prompt_leak import PromptLeak
from filters.refusal import Refusal
from filters.registry import build, registered
from filters.repetition import Repetition
from filters.scoring import score
from filters.token_confidence import TokenConfidence
from filters.truncation import Truncation

__all__ = [
    "Filter",
    "FilterError",
    "Length",
    "PromptLeak",
    "Refusal",
    "Repetition",
    "TokenConfidence",
    "Truncation",
    "build",
    "registered",
    "score",
]
