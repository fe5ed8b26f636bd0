"""Scenes of the demo world: what is in one, and its picture. Both follow from (split, seed, index) alone."""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = {
    "red": (214, 32, 36),
    "orange": (242, 130, 24),
    "yellow": (240, 206, 36),
    "green": (36, 152, 62),
    "blue": (36, 84, 206),
    "purple": (126, 48, 166),
    "pink": (238, 116, 176),
    "brown": (128, 80, 40),
}
SIZES = ("small", "large")
PLACES = ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right")
"""The 3x3 grid in reading order: place ``i`` is in row ``i // 3`` and column ``i % 3``."""
ROWS = ("top", "center", "bottom")
"""The places a printed word can have; it fills its row."""
WORDS = ("stop", "go", "open", "exit", "sale", "new", "hot", "ice", "zoo", "map", "bus", "milk")

Split = Literal["train", "world", "heldout"]
# Tenths of all possible truths. A truth belongs to exactly one split, so no training scene shows what a scene of
# another split shows, whatever the seeds.
_TENTHS: dict[Split, range] = {"train": range(0, 6), "world": range(6, 9), "heldout": range(9, 10)}

_CANVASES = ((64, 64), (80, 80), (96, 96), (128, 128), (160, 160), (224, 224))
_CANVASES_OBLONG = ((96, 64), (64, 80), (120, 96), (128, 160), (180, 120), (144, 216), (224, 160))
_BACKGROUNDS = ((255, 255, 255), (246, 246, 240), (250, 244, 226), (232, 240, 250), (236, 248, 236), (238, 238, 240))
_INKS = ((24, 24, 28), (20, 30, 80), (70, 16, 24), (16, 58, 36))
_RADIUS = {"small": (0.19, 0.25), "large": (0.38, 0.45)}
_OVERSAMPLING = 3


Edges = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One coloured shape; each field is a word of the tables above."""

    shape: str
    colour: str
    size: str
    place: str


@dataclass(frozen=True, slots=True)
class PrintedWord:
    """A word that fills the row ``place`` of the picture."""

    word: str
    place: str


@dataclass(frozen=True, slots=True)
class Scene:
    """The truth about one picture. ``things``: 1 to 4, in reading order, each at its own place."""

    split: Split
    seed: int
    index: int
    things: tuple[Thing, ...]
    word: PrintedWord | None

    @property
    def key(self) -> str:
        """The image key, such as ``scene-0000012``; unique within one split and seed."""
        return scene_key(self.index)


def scene_key(index: int) -> str:
    """The image key of the scene with this index."""
    return f"scene-{index:07d}"


def scene_index(key: str) -> int:
    """The index of the scene with this image key. Raises ValueError for a key that is no scene's."""
    prefix, _, digits = key.partition("-")
    if prefix != "scene" or not digits.isdecimal() or not digits.isascii():
        raise ValueError(f"{key!r} is not the key of a demo scene (expected the form {scene_key(12)!r})")
    return int(digits)


def draw_scene(seed: int, index: int, split: Split = "world") -> Scene:
    """The scene number ``index`` (0 or more) of a split. The same arguments give the same scene in every process."""
    rng = random.Random(f"scene/{split}/{seed}/{index}")
    while True:
        things, word = _draw_truth(rng)
        digest = hashlib.sha256(repr((things, word)).encode()).digest()
        if digest[0] % 10 in _TENTHS[split]:
            return Scene(split, seed, index, things, word)


def _draw_truth(rng: random.Random) -> tuple[tuple[Thing, ...], PrintedWord | None]:
    cells = list(range(9))
    word = None
    if rng.random() < 0.25:
        row = rng.randrange(3)
        word = PrintedWord(rng.choice(WORDS), ROWS[row])
        cells = [cell for cell in cells if cell // 3 != row]
    count = rng.choices((1, 2, 3, 4), (0.22, 0.30, 0.26, 0.22))[0]
    things = tuple(
        Thing(rng.choice(SHAPES), rng.choice(tuple(COLOURS)), rng.choice(SIZES), PLACES[cell])
        for cell in sorted(rng.sample(cells, count))
    )
    return things, word


def scene_image(scene: Scene) -> bytes:
    """The picture of a scene, an encoded PNG, JPEG or WebP file of 64 to 224 pixels a side, at most 3:2."""
    image, _, rng = _painted(scene)
    image = image.reduce(_OVERSAMPLING)

    encoded = BytesIO()
    draw = rng.random()
    if draw < 0.40:
        image.save(encoded, "PNG")
    elif draw < 0.75:
        image.save(encoded, "JPEG", quality=rng.randint(70, 95))
    else:
        image.save(encoded, "WEBP", quality=rng.randint(75, 95))
    return encoded.getvalue()


def scene_boxes(scene: Scene) -> list[tuple[str, Edges]]:
    """What stands where in the picture of a scene: each thing's colour and shape, and the printed word, with their edges."""
    image, edges, _ = _painted(scene)
    names = [f"{thing.colour} {thing.shape}" for thing in scene.things]
    names += [scene.word.word] if scene.word is not None else []
    width, height = image.size
    return [
        (name, (max(0.0, left / width), max(0.0, top / height), min(1.0, right / width), min(1.0, bottom / height)))
        for name, (left, top, right, bottom) in zip(names, edges, strict=True)
    ]


def _painted(scene: Scene) -> tuple[Image.Image, list[Edges], random.Random]:
    """The oversampled picture, the edges of what is in it in its pixels, and the generator as it then stands."""
    rng = random.Random(f"picture/{scene.split}/{scene.seed}/{scene.index}")
    width, height = rng.choice(_CANVASES_OBLONG if rng.random() < 0.4 else _CANVASES)
    image = _background(rng, width * _OVERSAMPLING, height * _OVERSAMPLING)
    canvas = ImageDraw.Draw(image)
    edges = [_draw_thing(canvas, thing, rng, image.size) for thing in scene.things]
    if scene.word is not None:
        edges.append(_draw_word(canvas, scene.word, rng, image.size))
    return image, edges, rng


def _background(rng: random.Random, width: int, height: int) -> Image.Image:
    top = rng.choice(_BACKGROUNDS)
    if rng.random() < 0.5:
        return Image.new("RGB", (width, height), top)
    bottom = tuple(channel - rng.randint(0, 24) for channel in top)
    blend = Image.linear_gradient("L").resize((width, height))
    return Image.composite(Image.new("RGB", (width, height), bottom), Image.new("RGB", (width, height), top), blend)


def _draw_thing(canvas: ImageDraw.ImageDraw, thing: Thing, rng: random.Random, size: tuple[int, int]) -> Edges:
    cell = PLACES.index(thing.place)
    cell_width, cell_height = size[0] / 3, size[1] / 3
    radius = rng.uniform(*_RADIUS[thing.size]) * min(cell_width, cell_height)
    slack = 0.5 - radius / min(cell_width, cell_height)
    x = (cell % 3 + 0.5 + rng.uniform(-0.8, 0.8) * slack) * cell_width
    y = (cell // 3 + 0.5 + rng.uniform(-0.8, 0.8) * slack) * cell_height
    fill = tuple(min(255, max(0, channel + rng.randint(-18, 18))) for channel in COLOURS[thing.colour])
    turn = math.radians(rng.uniform(-9, 9))
    if thing.shape == "circle":
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
        return x - radius, y - radius, x + radius, y + radius
    corners = []
    for corner_radius, degrees in _OUTLINES[thing.shape]:
        angle = math.radians(degrees) + turn
        corners.append((x + radius * corner_radius * math.sin(angle), y - radius * corner_radius * math.cos(angle)))
    canvas.polygon(corners, fill=fill)
    across, down = zip(*corners, strict=True)
    return min(across), min(down), max(across), max(down)


def _cross_outline() -> tuple[tuple[float, float], ...]:
    arm, reach = 0.36, 1.05
    tip, spread = math.hypot(arm, reach), math.degrees(math.atan2(arm, reach))
    inner = math.hypot(arm, arm)
    return tuple(
        corner
        for quarter in range(4)
        for corner in ((tip, 90 * quarter - spread), (tip, 90 * quarter + spread), (inner, 90 * quarter + 45))
    )


# Corners as (radius relative to the thing's, degrees clockwise from straight up).
_OUTLINES: dict[str, tuple[tuple[float, float], ...]] = {
    "square": tuple((1.25, 45 + 90 * corner) for corner in range(4)),
    "triangle": tuple((1.2, 120 * corner) for corner in range(3)),
    "star": tuple((1.2 if corner % 2 == 0 else 0.48, 36 * corner) for corner in range(10)),
    "cross": _cross_outline(),
}


def _draw_word(canvas: ImageDraw.ImageDraw, printed: PrintedWord, rng: random.Random, size: tuple[int, int]) -> Edges:
    width, height = size
    text = printed.word.upper()
    font_size = height / 3 * rng.uniform(0.95, 1.1)
    while True:
        font = ImageFont.load_default(font_size)
        stroke = max(1, round(font_size / 22))
        left, top, right, bottom = canvas.textbbox((0, 0), text, font=font, stroke_width=stroke)
        if right - left <= 0.92 * width and bottom - top <= 0.92 * height / 3:
            break
        font_size *= 0.94
    x = (width - (right - left)) * rng.uniform(0.3, 0.7) - left
    middle = (ROWS.index(printed.place) + 0.5) * height / 3
    ink = rng.choice(_INKS)
    canvas.text((x, middle - (top + bottom) / 2), text, font=font, fill=ink, stroke_width=stroke, stroke_fill=ink)
    up = middle - (top + bottom) / 2
    return x + left, up + top, x + right, up + bottom
