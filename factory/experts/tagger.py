"""`kind: tagger`: tags of an image by a classifier."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from factory.experts.checkpoint import checkpoint_models, loading
from factory.experts.contract import Expert, Finding

if TYPE_CHECKING:
    from PIL import Image


class Tagger(Expert):
    """Tags of an image, the likeliest first, by an image classifier of the transformers library (extra `cpu` or `gpu`).

    Of a classifier of several labels an image (`problem_type: multi_label_classification`) each has a probability of its own; else
    they sum to 1. Runs on processors.
    """

    name: ClassVar[str] = "tagger"
    version: ClassVar[int] = 1

    model: str = Field(
        description="Directory of an image classifier saved as safetensors, or its Hub id with `revision`."
    )
    revision: str | None = Field(default=None, description="Commit (40 hex digits) of a Hub id; required for one.")
    min_confidence: float = Field(default=0.3, ge=0, le=1, description="Probability from which on a tag counts.")
    most: int = Field(default=10, ge=1, le=200, description="Tags at most.")

    def check(self) -> None:
        """Raises ExpertError: no package, or no checkpoint."""
        self.models()

    def models(self) -> dict[str, str]:
        """The checkpoint's content, or its Hub id and commit. Raises ExpertError: there is none."""
        return checkpoint_models(self.name, self.model, self.revision)

    def load(self) -> None:
        """Raises ExpertError: it cannot be loaded as an image classifier."""
        with loading(self.name, self.model, self.revision, "an image classifier"):
            _ = self._loaded

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        import transformers as hf

        torch.set_num_threads(self.threads)
        options: dict[str, Any] = {"trust_remote_code": False} | ({"revision": self.revision} if self.revision else {})
        processor = hf.AutoImageProcessor.from_pretrained(self.model, backend="pil", **options)
        model = hf.AutoModelForImageClassification.from_pretrained(
            self.model, use_safetensors=True, dtype=torch.float32, **options
        )
        return processor, model.eval()

    def look(self, image: Image.Image) -> list[Finding]:
        """A finding a tag."""
        import torch

        processor, model = self._loaded
        with torch.inference_mode():
            logits = model(**processor(images=[image], return_tensors="pt")).logits[0]
        several = model.config.problem_type == "multi_label_classification"
        chances = (logits.sigmoid() if several else logits.softmax(-1)).tolist()
        ordered = sorted(enumerate(chances), key=lambda one: -one[1])[: self.most]
        return [
            Finding(model.config.id2label[place], chance) for place, chance in ordered if chance >= self.min_confidence
        ]


EXPERT = Tagger
