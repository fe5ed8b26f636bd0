"""What shines through a transparent image: a colour that the user names, or the one on which most of the image can be seen.

`auto` measures edges. An edge, inside the image or where it ends, is seen as far as the composite changes there. White is
taken where at least three fifths can be seen on it of what can be seen on the best of white, black and grey; so only an
image that would be lost on white, as white writing is, comes on another colour.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from PIL import Image, ImageColor

AUTO: Final = "auto"
NAMED: Final = {"white": (255, 255, 255), "black": (0, 0, 0), "grey": (128, 128, 128)}
"""In the order in which `auto` prefers them."""

_ENOUGH: Final = 0.6
"""Share of the best colour's visible edges with which an earlier colour is still taken."""
_SEEN: Final = 32.0
"""A step of so many grey values (of 255) is seen in full; a smaller one in proportion, so that lines which shrinking has
made faint still count."""
_SIDE: Final = 256
"""Longer side of the image on which edges are measured."""


def is_background(text: str) -> bool:
    """Whether `text` names a background: auto, white, black, grey, or a colour as #rrggbb."""
    return text == AUTO or text in NAMED or re.fullmatch("#[0-9a-fA-F]{6}", text) is not None


def on_background(srgb: Image.Image, background: str) -> Image.Image:
    """An image of mode RGB or RGBA on a background that `is_background` accepts; RGB."""
    if srgb.mode == "RGB":
        return srgb
    colour = NAMED.get(background) or (_of_contrast(srgb) if background == AUTO else ImageColor.getrgb(background)[:3])
    composite = Image.new("RGB", srgb.size, colour)
    composite.paste(srgb, mask=srgb.getchannel("A"))
    return composite


def _of_contrast(srgb: Image.Image) -> tuple[int, int, int]:
    if srgb.getchannel("A").getextrema()[0] == 255:
        return NAMED["white"]
    small = srgb.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.float32)
    alpha = np.pad(pixels[:, :, 3:] / 255, ((1, 1), (1, 1), (0, 0)), mode="edge")
    colours = np.pad(pixels[:, :, :3], ((1, 1), (1, 1), (0, 0)), mode="edge") * alpha
    seen = {colour: _seen(colours + (1 - alpha) * np.array(colour, np.float32)) for colour in NAMED.values()}
    best = max(seen.values())
    return next(colour for colour in NAMED.values() if seen[colour] >= _ENOUGH * best)


def _seen(composite: np.ndarray) -> float:
    """How much edge a composite of shape (height, width, 3) shows."""
    steps = [np.abs(np.diff(composite, axis=axis)).max(axis=2) for axis in (0, 1)]
    return float(sum(np.minimum(step, _SEEN).sum() for step in steps))
