"""Batches of a mixture: captions, interleaved documents and plain texts side by side, as TRL's collator takes them.

The collator puts a prompt with its images before a completion without any, and the loss on the completion. A caption is that
as it stands. A text is a completion after the token that begins a text. A document is a prompt up to its last image and the
rest; the loss is then put on the texts of its prompt too, never on what stands for images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exports.placeholder import neutral
from factory.errors import TrainingError


def mixture_batches(
    processor: Any, collate: Callable[[list[dict[str, Any]]], Any]
) -> Callable[[list[dict[str, Any]]], Any]:
    """A collator for rows of a mixture around TRL's for prompt and completion.

    Raises TrainingError where the tokenizer has no token that ends a text.
    """
    from trl.data_utils import apply_chat_template, prepare_multimodal_messages

    tokenizer = processor.tokenizer
    end = tokenizer.eos_token
    if end is None:
        raise TrainingError(
            "the tokenizer of the start has no token that ends a text (eos_token), so plain text cannot be learned"
        )
    begin = tokenizer.bos_token or end
    mark = _image_mark(processor)
    marks = set(tokenizer.encode(mark, add_special_tokens=False)) | _image_ids(processor)

    def spoken(row: dict[str, Any]) -> dict[str, Any]:
        if row["kind"] == "captions":
            *prompt, completion = row["messages"]
            told = {
                "prompt": prepare_multimodal_messages(prompt, images=row["images"]),
                "completion": prepare_multimodal_messages([completion]),
            }
            told = apply_chat_template(told, processor)
            return {"images": row["images"], "prompt": told["prompt"], "completion": told["completion"]}
        if row["kind"] == "text":
            return {"images": [], "prompt": begin, "completion": neutral(row["text"]) + end}
        parts = [mark if text is None else neutral(text) for text in row["texts"]]
        last = max((place for place, text in enumerate(row["texts"]) if text is None), default=-1) + 1
        return {
            "images": row["images"],
            "prompt": begin + "".join(parts[:last]),
            "completion": "".join(parts[last:]) + end,
        }

    def batch(rows: list[dict[str, Any]]) -> Any:
        made = collate([spoken(row) for row in rows])
        for place, row in enumerate(rows):
            if row["kind"] == "interleaved":
                _learn_prompt(made, place, marks)
        return made

    return batch


def _learn_prompt(batch: Any, place: int, marks: set[int]) -> None:
    """Put the loss on all of a row but its first token and what stands for images."""
    import torch

    tokens, present = batch["input_ids"][place], batch["attention_mask"][place].bool()
    learned = present & ~torch.isin(tokens, torch.tensor(sorted(marks), dtype=tokens.dtype))
    learned[present.int().argmax()] = False
    batch["labels"][place] = torch.where(learned, tokens, torch.full_like(tokens, -100))


def _image_mark(processor: Any) -> str:
    """What stands for an image between texts: as the chat template writes it where it keeps the order, else the image token."""
    content = [{"type": "text", "text": "before"}, {"type": "image"}, {"type": "text", "text": "after"}]
    written = processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    between = written.partition("before")[2].partition("after")[0].strip()
    token = getattr(processor, "image_token", None)
    if token is None or token in between:
        return between or "<image>"
    return str(token)


def _image_ids(processor: Any) -> set[int]:
    """The tokens that a processor writes for an image: those of an image after a text, without those of the text."""
    from PIL import Image

    tokenizer, mark = processor.tokenizer, _image_mark(processor)
    made = processor(images=[[Image.new("RGB", (64, 64))]], text=[mark], add_special_tokens=False)
    ids = made["input_ids"][0]
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    return {int(token) for token in ids if int(token) in special}
