"""Texts that a trainer would take for an image or for the end of a turn, made harmless.

Captions are untrusted: a printed word may be read out as `<image>`, and a trainer that counts placeholders then stops, or
puts an image there. Case is swapped, as VILA does it (`<image>` becomes `<IMAGE>`), so that no tokenizer takes the text for
a special token and a reader still sees what it said.
"""

from __future__ import annotations

import re
from typing import Final

PLACEHOLDER: Final = re.compile(
    r"<image>|<video>|<audio>|</?img>|<image_soft_token>|<(?:start|end)_of_(?:image|turn)>|<fake_token_around_image>"
    r"|<global-img>|<row_\d+_col_\d+>|<end_of_utterance>|<\|[a-z0-9_]{1,40}\|>|\[/?(?:IMG|INST)(?:_[A-Z]+)?\]"
)
"""Of LLaVA, VILA, Qwen-VL, InternVL, Gemma, Idefics, SmolVLM, Pixtral, and the turn marks of ChatML."""


def neutralised(text: str) -> str:
    """The text with every placeholder in the other case."""
    return PLACEHOLDER.sub(lambda match: match.group().swapcase(), text) if "<" in text or "[" in text else text
