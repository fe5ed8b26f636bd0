"""A dual encoder (CLIP, SigLIP and their kin) through transformers: images and texts into one space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from filters.contract.filter import FilterError
from filters.images.pixels import UnreadableImage, decode
from filters.models.transformers_checkpoint import Checkpoint, device_of

Dtype = Literal["float32", "bfloat16", "float16"]
Vectors = npt.NDArray[np.float32]

_BUCKET: Final = 8
_TEXTS_AT_ONCE: Final = 64


class DualEncoder:
    """A loaded model. Vectors come as float32 of length 1.

    Work is done in batches of one shape (the last filled up), texts padded to a multiple of eight tokens, or to the limit
    where the model was trained so: what comes out for a text or an image does not depend on what it comes with.
    """

    def __init__(self, checkpoint: Checkpoint, device: str, dtype: Dtype) -> None:
        with checkpoint.loading("a dual encoder of images and texts (CLIP, SigLIP, ...)"):
            import torch
            from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

            options = checkpoint.options()
            model = AutoModel.from_pretrained(
                checkpoint.model, use_safetensors=True, dtype=getattr(torch, dtype), **options
            )
            if not (hasattr(model, "get_text_features") and hasattr(model, "get_image_features")):
                raise FilterError(
                    f"{checkpoint.asked_by}: {checkpoint.model!r} is a {type(model).__name__}, which has no text and image "
                    f"features to compare; use a dual encoder such as CLIP or SigLIP."
                )
            self._tokenizer = AutoTokenizer.from_pretrained(checkpoint.model, **options)
            self._images = AutoImageProcessor.from_pretrained(checkpoint.model, backend="pil", **options)
        self._torch, self._device = torch, device
        self._model = model.eval().to(device)
        text = getattr(model.config, "text_config", model.config)
        positions = getattr(text, "max_position_embeddings", 77)
        self.limit: int = max(4, min(positions, self._tokenizer.model_max_length))
        """Most tokens of a text, with the marks around it."""
        self._padded = model.config.model_type.startswith("siglip")  # trained on texts padded to the limit
        scale, bias = getattr(model, "logit_scale", None), getattr(model, "logit_bias", None)
        self.sigmoid: tuple[float, float] | None = None
        """For a model trained with a sigmoid loss: a cosine's probability is `sigmoid(scale * cosine + bias)`."""
        if scale is not None and bias is not None:
            self.sigmoid = float(scale.detach().float().exp()), float(bias.detach().float())

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, with the marks around it."""
        return [len(ids) for ids in self._tokenizer(list(texts), verbose=False)["input_ids"]] if texts else []

    def texts(self, texts: Sequence[str]) -> Vectors:
        """(texts, width). What is beyond `limit` tokens is cut: split texts first."""
        if not texts:
            return np.empty((0, 1), np.float32)
        ids = self._tokenizer(list(texts), truncation=True, max_length=self.limit, verbose=False)["input_ids"]
        shapes: dict[int, list[int]] = {}
        for position, tokens in enumerate(ids):
            length = self.limit if self._padded else min(self.limit, -(-len(tokens) // _BUCKET) * _BUCKET)
            shapes.setdefault(length, []).append(position)
        found: dict[int, Vectors] = {}
        for length, positions in shapes.items():
            for start in range(0, len(positions), _TEXTS_AT_ONCE):
                some = positions[start : start + _TEXTS_AT_ONCE]
                vectors = self._run_texts([ids[at] for at in _filled(some, _TEXTS_AT_ONCE)], length)
                found.update(zip(some, vectors, strict=False))
        return np.stack([found[position] for position in range(len(texts))])

    def images(self, images: Sequence[bytes], batch_size: int) -> tuple[dict[bytes, Vectors], dict[bytes, str]]:
        """The vector of each image that can be decoded, and the reason of each that cannot; images come each once."""
        vectors: dict[bytes, Vectors] = {}
        reasons: dict[bytes, str] = {}
        side = self._side()
        waiting: list[tuple[bytes, Any]] = []

        def run() -> None:
            filled = _filled([image for _, image in waiting], batch_size)
            vectors.update(zip((data for data, _ in waiting), self._run_images(filled), strict=False))
            waiting.clear()

        for data in images:
            try:
                waiting.append((data, decode(data, 2 * side)))
            except UnreadableImage as unreadable:
                reasons[data] = unreadable.reason
            if len(waiting) == batch_size:
                run()
        if waiting:
            run()
        return vectors, reasons

    def _side(self) -> int:
        """Pixels a side that the model looks at."""
        size = dict(getattr(self._images, "size", None) or {})
        return max((int(value) for value in size.values() if isinstance(value, int | float)), default=448)

    def _run_texts(self, ids: list[list[int]], length: int) -> Vectors:
        batch = self._tokenizer.pad({"input_ids": ids}, padding="max_length", max_length=length, return_tensors="pt")
        inputs = {"input_ids": batch["input_ids"].to(self._device)}
        if not self._padded:
            inputs["attention_mask"] = batch["attention_mask"].to(self._device)
        with self._torch.inference_mode():
            return self._unit(self._model.get_text_features(**inputs))

    def _run_images(self, images: list[Any]) -> Vectors:
        pixels = self._images(images=images, return_tensors="pt")
        inputs = {
            name: value.to(self._device, self._model.dtype) if value.is_floating_point() else value.to(self._device)
            for name, value in pixels.items()
        }
        with self._torch.inference_mode():
            return self._unit(self._model.get_image_features(**inputs))

    def _unit(self, output: Any) -> Vectors:
        features = (output if self._torch.is_tensor(output) else output.pooler_output).float()
        vectors: Vectors = self._torch.nn.functional.normalize(features, dim=-1).cpu().numpy()
        return vectors


@lru_cache(maxsize=2)
def dual_encoder(checkpoint: Checkpoint, device: str, dtype: Dtype) -> DualEncoder:
    """The model, loaded once in a process. Raises FilterError where it cannot be."""
    return DualEncoder(checkpoint, device_of(checkpoint.asked_by, device), dtype)


def _filled(some: list[Any], size: int) -> list[Any]:
    return some + some[-1:] * (size - len(some))
