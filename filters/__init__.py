"""Scores for captions: each filter gives each caption a number in [0, 1], higher is better.

>>> from filters import Repetition, score
>>> captions = ["a dog on a beach", "a dog on a beach a dog on a beach a dog on a beach"]
>>> score(captions, [Repetition()])["repetition"].to_list()
[1.0, 0.0]
"""

from filters.calibration.calibrate import calibrate
from filters.calibration.calibration import Calibration
from filters.contract.filter import Filter, FilterError, SetFilter
from filters.images.alignment import Alignment
from filters.images.blank_image import BlankImage
from filters.images.duplicate_image import DuplicateImage
from filters.images.image_aspect import ImageAspect
from filters.images.image_hash import ImageHash
from filters.images.image_integrity import ImageIntegrity
from filters.images.image_size import ImageSize
from filters.images.nsfw import Nsfw
from filters.images.object_grounding import ObjectGrounding
from filters.images.ocr_consistency import OcrConsistency
from filters.images.watermark import Watermark
from filters.registry import build, registered
from filters.scoring import score
from filters.sets.exact_duplicates import ExactDuplicates
from filters.sets.language_drift import LanguageDrift
from filters.sets.length_cliff import LengthCliff
from filters.sets.near_duplicates import NearDuplicates
from filters.sets.opener_share import OpenerShare
from filters.sets.repeated_caption import RepeatedCaption
from filters.sets.shifted_rows import ShiftedRows
from filters.text.artifacts import Artifacts
from filters.text.boilerplate import Boilerplate
from filters.text.hedging import Hedging
from filters.text.language import Language
from filters.text.length import Length
from filters.text.opener import Opener
from filters.text.pii import Pii
from filters.text.prompt_leak import PromptLeak
from filters.text.quality import Quality
from filters.text.quality_training import QualityTraining, train_quality
from filters.text.refusal import Refusal
from filters.text.repetition import Repetition
from filters.text.shape import Shape
from filters.text.token_confidence import TokenConfidence
from filters.text.toxicity import Toxicity
from filters.text.truncation import Truncation

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
