"""Vectors of short texts for comparing names: a sentence encoder through transformers, or a fastText model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from filters.models.fasttext_model import load_word_vectors
from filters.models.transformers_checkpoint import Checkpoint, device_of

Vectors = npt.NDArray[np.float32]
_AT_ONCE: Final = 64


def word_vectors(model: str, revision: str | None, asked_by: str) -> Callable[[Sequence[str]], Vectors]:
    """What turns texts into vectors, (texts, width); each text is encoded once.

    `model`: a fastText model (.bin, of words: a text is the mean of its words), or a directory or Hub id (with `revision`) of
    a transformers encoder, whose last layer is averaged over the tokens, as sentence-transformers' MPNet models do.
    Raises FilterError where it cannot be loaded.
    """
    encode = _fasttext(model, asked_by) if model.endswith(".bin") else _encoder(Checkpoint(asked_by, model, revision))
    known: dict[str, Vectors] = {}

    def vectors(texts: Sequence[str]) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            known.update(zip(some, encode(some), strict=True))
        return np.stack([known[text] for text in texts])

    return vectors


def _fasttext(path: str, asked_by: str) -> Callable[[Sequence[str]], Vectors]:
    vector = load_word_vectors(path, asked_by)
    return lambda texts: np.stack([np.mean([vector(word) for word in text.split()], axis=0) for text in texts])


def _encoder(checkpoint: Checkpoint) -> Callable[[Sequence[str]], Vectors]:
    with checkpoint.loading("an encoder of texts"):
        import torch
        from transformers import AutoModel, AutoTokenizer

        options = checkpoint.options()
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.model, **options)
        device = device_of(checkpoint.asked_by, "auto")
        model: Any = AutoModel.from_pretrained(checkpoint.model, use_safetensors=True, dtype=torch.float32, **options)
        model = model.eval().to(device)

    def encode(texts: Sequence[str]) -> Vectors:
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=32, return_tensors="pt").to(device)
        with torch.inference_mode():
            states = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).float()
        found: Vectors = ((states.float() * mask).sum(1) / mask.sum(1)).cpu().numpy()
        return found

    return encode
