"""An open-vocabulary detector (OWL-ViT, OWLv2, Grounding DINO) through transformers: is a thing of this name in the image?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from filters.contract.filter import FilterError
from filters.images.dual_encoder import Dtype
from filters.images.pixels import UnreadableImage, decode
from filters.models.transformers_checkpoint import Checkpoint, device_of

_OWL: Final = ("owlvit", "owlv2")
_DINO: Final = ("grounding-dino", "mm-grounding-dino")
_QUERIES_AT_ONCE: Final = 16
_LEAST_SIDE: Final = 32
"""Pixels: an image with a shorter side is enlarged, since the first layers of some of these models need as many."""
_SIDE: Final = 1600
"""Pixels of the longer side that are kept: more than these models look at (960, 1008, 1333)."""


class ObjectDetector:
    """A loaded model. What it says of an image and a list of names depends on these alone."""

    def __init__(self, checkpoint: Checkpoint, device: str, dtype: Dtype) -> None:
        with checkpoint.loading("an open-vocabulary detector (OWLv2, Grounding DINO)"):
            import torch
            from transformers import AutoConfig, AutoImageProcessor, AutoModelForZeroShotObjectDetection, AutoTokenizer

            options = checkpoint.options()
            kind = AutoConfig.from_pretrained(checkpoint.model, **options).model_type
            if kind not in (*_OWL, *_DINO):
                raise FilterError(
                    f"{checkpoint.asked_by}: {checkpoint.model!r} is of type {kind!r}; detectors of the types "
                    f"{', '.join((*_OWL, *_DINO))} can be asked for names."
                )
            model = AutoModelForZeroShotObjectDetection.from_pretrained(
                checkpoint.model, use_safetensors=True, dtype=getattr(torch, dtype), **options
            )
            self._tokenizer = AutoTokenizer.from_pretrained(checkpoint.model, **options)
            self._processor = AutoImageProcessor.from_pretrained(checkpoint.model, backend="pil", **options)
        self._torch, self._device = torch, device
        self._model = model.eval().to(device)
        self._is_owl = kind in _OWL
        self.template = "a photo of a {}" if self._is_owl else "{}"
        """How a name is written for it: as in the model's own examples."""
        self.least = 0.1 if self._is_owl else 0.25
        """The threshold of a detection that the model's own processor has by default."""

    def scores(self, image: Any, names: Sequence[str], template: str | None) -> list[float]:
        """For each name the probability of the likeliest box, in [0, 1]; `image` is what `opened` gave.

        OWL: the sigmoid of the box's logit for the text. Grounding DINO: the mean over the name's tokens of their
        sigmoids; the names are in one text as the model was trained, so that each is seen beside the others.
        """
        texts = [(template or self.template).format(name) for name in names]
        pixels = self._processor(images=[image], return_tensors="pt", input_data_format="channels_last")
        inputs = {
            name: value.to(self._device, self._model.dtype) if value.is_floating_point() else value.to(self._device)
            for name, value in pixels.items()
        }
        with self._torch.inference_mode():
            return self._owl(inputs, texts) if self._is_owl else self._dino(inputs, texts)

    def _owl(self, inputs: dict[str, Any], texts: list[str]) -> list[float]:
        found: list[float] = []
        length = getattr(self._model.config.text_config, "max_position_embeddings", 16)
        for start in range(0, len(texts), _QUERIES_AT_ONCE):
            some = texts[start : start + _QUERIES_AT_ONCE]
            filled = some + some[-1:] * (_QUERIES_AT_ONCE - len(some))
            batch = self._tokenizer(
                filled, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
            )
            output = self._model(
                input_ids=batch["input_ids"].to(self._device),
                attention_mask=batch["attention_mask"].to(self._device),
                pixel_values=inputs["pixel_values"],
            )
            best = output.logits[0].float().max(dim=0).values.sigmoid()  # (boxes, queries) -> (queries)
            found += best[: len(some)].tolist()
        return found

    def _dino(self, inputs: dict[str, Any], texts: list[str]) -> list[float]:
        found: list[float] = []
        for spans, ids in self._prompts(texts):
            tokens = self._torch.tensor([ids], device=self._device)
            output = self._model(
                **inputs,
                input_ids=tokens,
                attention_mask=self._torch.ones_like(tokens),
                token_type_ids=self._torch.zeros_like(tokens),
            )
            chances = output.logits[0].float().sigmoid()  # (boxes, tokens)
            found += [float(chances[:, first:last].mean(dim=1).max()) for first, last in spans]
        return found

    def _prompts(self, texts: list[str]) -> list[tuple[list[tuple[int, int]], list[int]]]:
        """Names joined as "a cat. a dog." in as few prompts as its limit allows: where each lies, and the tokens."""
        most = min(self._model.config.max_text_len, self._tokenizer.model_max_length)
        (stop,) = self._tokenizer(".", add_special_tokens=False)["input_ids"]
        first, last = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
        prompts: list[tuple[list[tuple[int, int]], list[int]]] = []
        for text in texts:
            own = self._tokenizer(text.lower().replace(".", " "), add_special_tokens=False)["input_ids"][: most - 3]
            own = own or [self._tokenizer.unk_token_id]
            if not prompts or len(prompts[-1][1]) + len(own) + 2 > most:
                prompts.append(([], [first]))
            spans, ids = prompts[-1]
            spans.append((len(ids), len(ids) + len(own)))
            ids += [*own, stop]
        return [(spans, [*ids, last]) for spans, ids in prompts]


def opened(data: bytes) -> Any:
    """An image as the detector takes it. Raises UnreadableImage."""
    image = decode(data, _SIDE)
    image.thumbnail((_SIDE, _SIDE))
    width, height = image.size
    if min(width, height) < _LEAST_SIDE:
        image = image.resize((max(width, _LEAST_SIDE), max(height, _LEAST_SIDE)))
    return image


@lru_cache(maxsize=2)
def object_detector(checkpoint: Checkpoint, device: str, dtype: Dtype) -> ObjectDetector:
    """The model, loaded once in a process. Raises FilterError where it cannot be."""
    return ObjectDetector(checkpoint, device_of(checkpoint.asked_by, device), dtype)


__all__ = ["ObjectDetector", "UnreadableImage", "object_detector", "opened"]
