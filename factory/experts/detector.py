"""`kind: detector`: the objects of an image, with boxes."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import Field, field_validator

from factory.experts.checkpoint import checkpoint_models, loading
from factory.experts.contract import Expert, Finding

if TYPE_CHECKING:
    from PIL import Image

GRID: Final = 999
"""Boxes in prompts count from 0 to this from the top left corner, as grounded captions do."""
_ONE_TEXT: Final = ("grounding-dino", "mm-grounding-dino")


class Detector(Expert):
    """The objects of an image, with confidences and boxes, by a detector of the transformers library (extra `cpu` or `gpu`).

    With `labels`, an open-vocabulary one (OWL-ViT, OWLv2, Grounding DINO) is asked for these; without, a plain one (DETR, RT-DETR,
    YOLOS) tells its own. Runs on processors. In prompts each name stands once with its number: "dog (2), car".
    """

    name: ClassVar[str] = "detector"
    version: ClassVar[int] = 1

    model: str = Field(description="Directory of a detector saved as safetensors, or its Hub id with `revision`.")
    revision: str | None = Field(default=None, description="Commit (40 hex digits) of a Hub id; required for one.")
    labels: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="What to look for, of an open-vocabulary detector; unset: a plain one's own.",
    )
    min_confidence: float = Field(default=0.3, ge=0, le=1, description="Confidence from which on an object counts.")
    boxes: bool = Field(
        default=False, description="Name each object in prompts with its box [xmin,ymin,xmax,ymax] in 000-999."
    )

    @field_validator("labels")
    @classmethod
    def _labels_are_words(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and not all(label.strip() for label in value):
            raise ValueError("an empty label")
        return value

    def check(self) -> None:
        """Raises ExpertError: no package, or no checkpoint."""
        self.models()

    def models(self) -> dict[str, str]:
        """The checkpoint's content, or its Hub id and commit. Raises ExpertError: there is none."""
        return checkpoint_models(self.name, self.model, self.revision)

    def load(self) -> None:
        """Raises ExpertError: it cannot be loaded as a detector of this kind."""
        with loading(
            self.name,
            self.model,
            self.revision,
            "a detector that names its own objects" if self.labels is None else "an open-vocabulary detector",
        ):
            _ = self._loaded

    @cached_property
    def _loaded(self) -> tuple[Any, Any, bool]:
        """Processor, model, and whether all labels stand in one text."""
        import torch
        import transformers as hf

        torch.set_num_threads(self.threads)
        options: dict[str, Any] = {"trust_remote_code": False} | ({"revision": self.revision} if self.revision else {})
        kind = hf.AutoConfig.from_pretrained(self.model, **options).model_type
        pixels = hf.AutoImageProcessor.from_pretrained(self.model, backend="pil", **options)
        if self.labels is None:
            auto, processor = hf.AutoModelForObjectDetection, pixels
        else:
            auto = hf.AutoModelForZeroShotObjectDetection
            tokenizer = hf.AutoTokenizer.from_pretrained(self.model, **options)
            made = (
                hf.GroundingDinoProcessor
                if kind in _ONE_TEXT
                else hf.Owlv2Processor
                if kind == "owlv2"
                else hf.OwlViTProcessor
            )
            processor = made(image_processor=pixels, tokenizer=tokenizer)
        model = auto.from_pretrained(self.model, use_safetensors=True, dtype=torch.float32, **options).eval()
        return processor, model, kind in _ONE_TEXT

    def look(self, image: Image.Image) -> list[Finding]:
        """A finding an object, the surest first."""
        import torch

        processor, model, in_one = self._loaded
        size = [(image.height, image.width)]
        with torch.inference_mode():
            if self.labels is None:
                output = model(**processor(images=[image], return_tensors="pt"))
                found = processor.post_process_object_detection(
                    output, threshold=self.min_confidence, target_sizes=size
                )[0]
                names = [model.config.id2label[int(number)] for number in found["labels"]]
            elif in_one:
                text = " ".join(f"{label.lower().rstrip('. ')}." for label in self.labels)
                inputs = processor(images=[image], text=[text], return_tensors="pt")
                found = processor.post_process_grounded_object_detection(
                    model(**inputs),
                    inputs["input_ids"],
                    threshold=self.min_confidence,
                    text_threshold=self.min_confidence,
                    target_sizes=size,
                )[0]
                names = [str(name) for name in found["text_labels"]]
            else:
                tokens = {
                    "padding": "max_length",
                    "truncation": True,
                    "max_length": model.config.text_config.max_position_embeddings,
                }
                inputs = processor(images=[image], text=[list(self.labels)], return_tensors="pt", **tokens)
                found = processor.post_process_grounded_object_detection(
                    model(**inputs), threshold=self.min_confidence, target_sizes=size, text_labels=[list(self.labels)]
                )[0]
                names = [str(name) for name in found["text_labels"]]
        rows = zip(names, found["scores"].tolist(), found["boxes"].tolist(), strict=True)
        inside = [
            (name, score, within) for name, score, box in rows if name and (within := _within(box, image)) is not None
        ]
        findings = [Finding(name, min(1.0, score), box) for name, score, box in inside]
        return sorted(findings, key=lambda finding: -(finding.confidence or 0.0))

    def words(self, findings: list[Finding]) -> str:
        """Each name with its number, or each object with its box; findings have boxes as shares of the image."""
        if not self.boxes:
            numbers = Counter(finding.text for finding in findings)
            return ", ".join(name if number == 1 else f"{name} ({number})" for name, number in numbers.items())
        return ", ".join(
            f"{finding.text} [{','.join(f'{round(share * GRID):03d}' for share in finding.box or ())}]"
            for finding in findings
        )


def _within(box: list[float], image: Image.Image) -> tuple[float, float, float, float] | None:
    """The part of a model's box that lies in the image; None where that is nothing: some models see the image with a margin."""
    left, right = sorted(min(max(0.0, x), float(image.width)) for x in (box[0], box[2]))
    top, bottom = sorted(min(max(0.0, y), float(image.height)) for y in (box[1], box[3]))
    return (left, top, right, bottom) if left < right and top < bottom else None


EXPERT = Detector
