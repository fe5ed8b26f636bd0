"""Scores for captions: each filter gives each caption a number in [0, 1], higher is better.

>>> from filters import Repetition, score
>>> captions = ["a dog on a beach", "a dog on a beach a dog on a beach a dog on a beach"]
>>> score(captions, [Repetition()])["repetition"].to_list()
[1.0, 0.0]
"""

from filters.alignment import Alignment
from filters.artifacts import Artifacts
from filters.blank_image import BlankImage
from filters.boilerplate import Boilerplate
from filters.calibrating import calibrate
from filters.calibration import Calibration
from filters.contract import Filter, FilterError, SetFilter
from filters.duplicate_image import DuplicateImage
from filters.exact_duplicates import ExactDuplicates
from filters.hedging import Hedging
from filters.image_aspect import ImageAspect
from filters.image_hash import ImageHash
from filters.image_integrity import ImageIntegrity
from filters.image_size import ImageSize
from filters.language import Language
from filters.language_drift import LanguageDrift
from filters.length import Length
from filters.length_cliff import LengthCliff
from filters.near_duplicates import NearDuplicates
from filters.nsfw import Nsfw
from filters.object_grounding import ObjectGrounding
from filters.ocr_consistency import OcrConsistency
from filters.opener import Opener
from filters.opener_share import OpenerShare
from filters.pii import Pii
from filters.prompt_leak import PromptLeak
from filters.quality import Quality
from filters.quality_training import QualityTraining, train_quality
from filters.refusal import Refusal
from filters.registry import build, registered
from filters.repeated_caption import RepeatedCaption
from filters.repetition import Repetition
from filters.scoring import score
from filters.shape import Shape
from filters.shifted_rows import ShiftedRows
from filters.token_confidence import TokenConfidence
from filters.toxicity import Toxicity
from filters.truncation import Truncation
from filters.watermark import Watermark

__all__ = [
    "Alignment",
    "Artifacts",
    "BlankImage",
    "Boilerplate",
    "Calibration",
    "DuplicateImage",
    "ExactDuplicates",
    "Filter",
    "FilterError",
    "Hedging",
    "ImageAspect",
    "ImageHash",
    "ImageIntegrity",
    "ImageSize",
    "Language",
    "LanguageDrift",
    "Length",
    "LengthCliff",
    "NearDuplicates",
    "Nsfw",
    "ObjectGrounding",
    "OcrConsistency",
    "Opener",
    "OpenerShare",
    "Pii",
    "PromptLeak",
    "Quality",
    "QualityTraining",
    "Refusal",
    "RepeatedCaption",
    "Repetition",
    "SetFilter",
    "Shape",
    "ShiftedRows",
    "TokenConfidence",
    "Toxicity",
    "Truncation",
    "Watermark",
    "build",
    "calibrate",
    "registered",
    "score",
    "train_quality",
]
