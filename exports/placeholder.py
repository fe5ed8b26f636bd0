"""Texts in which no trainer sees an image that is not there, nor the end of a turn.

Captions are untrusted: one that holds `<image>` makes a trainer insert (or miss) an image, one that holds `<|im_end|>`
ends its turn. A space after the opening sign makes them plain text again. Grounding marks (`<ref>`, `<|box_start|>`) stay.
"""

from __future__ import annotations

import re

# LLaVA, VILA, LLaMA-Factory, ms-swift, Idefics/SmolVLM, InternVL, Gemma, MiniCPM, Llama and their chat templates.
_NAMES = (
    r"image|images|video|audio|img|vid|speech|sound|image_?pad|image_id|slice|unit|point_cloud|media"
    r"|image-placeholder|im_start|im_end|im_patch|vid_start|vid_end|vid_patch|IMG_CONTEXT|VIDEO_CONTEXT"
    r"|fake_token_around_image|global-img|row_\d+_col_\d+|end_of_utterance"
    r"|start_of_image|end_of_image|image_soft_token|start_of_turn|end_of_turn"
    r"|vila/\w+|s|bos|eos|pad|unk"
)
_GROUNDING = r"(?!/?(?:box|quad|ref|det|point|poly|object_ref|loc|coord|grounding)(?:_|\b))"
_PLACEHOLDER = re.compile(
    rf"<(?=/?(?:{_NAMES})>)"
    rf"|<(?=\|{_GROUNDING}[^<>|\s]{{1,64}}\|>)"
    r"|<(?=｜[^<>｜]{1,64}｜>)"
    r"|\[(?=/?(?:IMG|IMG_BREAK|IMG_END|INST|SYSTEM_PROMPT)\])"
)


def neutral(text: str) -> str:
    """The text with every trainer's placeholder and control token made plain: `<image>` becomes `< image>`."""
    if "<" not in text and "[" not in text:
        return text
    return _PLACEHOLDER.sub(lambda match: match.group() + " ", text)
