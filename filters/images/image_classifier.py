"""Filters by an image classifier of your own: what `nsfw` and `watermark` share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter, FilterError
from filters.images.image_facts import of_each
from filters.images.pixels import UnreadableImage, decode
from filters.models.transformers_checkpoint import Checkpoint, device_of

_DRAFT = 512
"""Pixels a side that a JPEG keeps at least when it is decoded: more than such classifiers look at."""


class Classifier(Protocol):
    """Tells labels of images apart. `independent`: several may hold of one image, else their probabilities sum to 1."""

    @property
    def independent(self) -> bool: ...

    labels: list[str]

    def probabilities(self, images: Sequence[Any]) -> list[dict[str, float]]:
        """Each image's probability by label."""
        ...


class ImageClassifierFilter(Filter):
    """Scores one less the probability of the unwanted labels of a transformers image classifier."""

    needs: ClassVar[tuple[str, ...]] = ("image",)
    holds_model: ClassVar[bool] = True
    evidence: ClassVar[dict[str, pl.DataType]] = {"label": pl.String(), "reason": pl.String()}
    harmless: ClassVar[frozenset[str]]
    """Labels, in lower case, that say that nothing was found."""

    model: str = Field(
        description="Directory of a transformers image classifier saved as safetensors, or its Hub id with `revision`."
    )
    revision: str | None = Field(None, description="Commit (40 hex digits) of a Hub id; required for one.")
    labels: tuple[str, ...] | None = Field(None, description="Its unwanted labels; null for all but the harmless ones.")
    device: str = Field("auto", description='"auto" (a GPU where there is one), "cpu", "cuda", "cuda:1".')
    batch_size: int = Field(
        1, ge=1, description="Images judged at once. Above 1 is faster on a GPU; a last digit may then differ."
    )

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        images = self.inputs(captions)["image"]
        answers: dict[bytes, tuple[float | None, str | None, str | None]] = {}
        if images.null_count() < images.len():
            answers = self._answers(images.drop_nulls().unique(maintain_order=True).to_list())
        rows = [(None,) * 3 if answer is None else answer for answer in of_each(images, answers.__getitem__)]
        return pl.DataFrame(rows, {"score": pl.Float64, **self.evidence}, orient="row")

    def models(self) -> dict[str, str]:
        return {"model": self._checkpoint().identity()}

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self.name, self.model, self.revision)

    def _classifier(self) -> Classifier:
        return _classifier(self._checkpoint(), device_of(self.name, self.device))

    def _answers(self, images: Sequence[bytes]) -> dict[bytes, tuple[float | None, str | None, str | None]]:
        classifier = self._classifier()
        unwanted = self._unwanted(classifier)
        answers: dict[bytes, tuple[float | None, str | None, str | None]] = {}
        for start in range(0, len(images), self.batch_size):
            decoded: dict[bytes, Any] = {}
            for data in images[start : start + self.batch_size]:
                try:
                    decoded[data] = decode(data, _DRAFT)
                except UnreadableImage as unreadable:
                    answers[data] = None, None, unreadable.reason
            for data, chances in zip(decoded, classifier.probabilities([*decoded.values()]), strict=True):
                label = max(unwanted, key=lambda name: chances[name])
                answers[data] = (
                    round(1.0 - min(1.0, self._unwanted_chance(chances, unwanted, classifier)), 4),
                    label,
                    None,
                )
        return answers

    def _unwanted_chance(self, chances: dict[str, float], unwanted: Sequence[str], classifier: Classifier) -> float:
        """Labels that exclude each other add up; of independent ones the likeliest counts."""
        found = [chances[name] for name in unwanted]
        return max(found) if classifier.independent else sum(found)

    def _unwanted(self, classifier: Classifier) -> list[str]:
        labels = classifier.labels
        wanted = (
            [name for name in labels if name.lower() not in self.harmless] if self.labels is None else [*self.labels]
        )
        unknown = [name for name in wanted if name not in labels]
        all_of_all = len(wanted) == len(labels) and not classifier.independent  # their sum is always 1
        if unknown or not wanted or all_of_all:
            problem = f"; {', '.join(map(repr, unknown))} is none of them" if unknown else ""
            raise FilterError(
                f"{self.name}.labels: name the unwanted labels of {self.model!r}, which has "
                f"{', '.join(map(repr, labels[:20]))}{problem}."
            )
        return wanted


class _Classifier:
    def __init__(self, processor: Any, model: Any, device: str) -> None:
        self._processor, self._model, self._device = processor, model.eval().to(device), device
        self.labels = [model.config.id2label[number] for number in range(model.config.num_labels)]
        self.independent = model.config.problem_type == "multi_label_classification"

    def probabilities(self, images: Sequence[Any]) -> list[dict[str, float]]:
        """Each image's probability by label."""
        import torch

        if not images:
            return []
        pixels = self._processor(images=list(images), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            logits = self._model(pixel_values=pixels.to(self._device)).logits.float()
        rows = logits.sigmoid() if self.independent else logits.softmax(-1)
        return [dict(zip(self.labels, row, strict=True)) for row in rows.tolist()]


@lru_cache(maxsize=4)
def _classifier(checkpoint: Checkpoint, device: str) -> _Classifier:
    with checkpoint.loading("an image classifier"):
        import torch
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        options = checkpoint.options()
        model = AutoModelForImageClassification.from_pretrained(
            checkpoint.model, use_safetensors=True, dtype=torch.float32, **options
        )
        return _Classifier(
            AutoImageProcessor.from_pretrained(checkpoint.model, backend="pil", **options), model, device
        )
