"""What the factory sees of the demo world: image keys, image bytes and what the "web" wrote beside them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from factory.demo.claims import Claim, differences
from factory.demo.language import (
    detailed_caption,
    falsified,
    list_sentence,
    open_question,
    scene_claims,
    sentence,
    short_caption,
)
from factory.demo.scenes import COLOURS, SHAPES, WORDS, Scene, Split, draw_scene, scene_image

Errors = Mapping[Literal["swapped", "neighbour", "omitted"], float]
"""How facts are told wrong, with weights; see `noisy_caption`."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One image of the demo source. ``text`` is the original text; None where the page had none. No truth in here."""

    key: str
    image: bytes
    text: str | None


def source_row(seed: int, index: int, split: Split = "world") -> SourceRow:
    """The row number ``index`` (0 or more) of the demo source with this seed."""
    scene = draw_scene(seed, index, split)
    return SourceRow(scene.key, scene_image(scene), web_text(scene))


def source_rows(seed: int, count: int) -> Iterator[SourceRow]:
    """The first ``count`` rows of the demo source with this seed."""
    return (source_row(seed, index) for index in range(count))


def web_text(scene: Scene) -> str | None:
    """Alt text as found on the web: for about 60 % of the scenes; file names, advertising, keywords that are often
    wrong, empty strings, and few true captions.
    """
    rng = random.Random(f"web/{scene.split}/{scene.seed}/{scene.index}")
    if rng.random() >= 0.6:
        return None
    kind = rng.choices(
        ("file", "keywords", "keywords of another", "advert", "empty", "caption", "caption of another"),
        (0.20, 0.22, 0.16, 0.14, 0.06, 0.12, 0.10),
    )[0]
    if kind == "file":
        return rng.choice(("IMG_{}.jpg", "DSC_{}.JPG", "image-{}.png", "untitled{}.webp")).format(
            rng.randint(100, 9999)
        )
    if kind == "advert":
        return rng.choice(_ADVERTS)
    if kind == "empty":
        return ""
    if kind == "caption":
        return short_caption(scene, rng)
    if kind == "caption of another":
        other = draw_scene(rng.randrange(2**31), 0, scene.split)
        return list_sentence(scene_claims(other), rng)
    if kind == "keywords":
        thing = rng.choice(scene.things)
        colour, shape = thing.colour, thing.shape
        if scene.word is not None and rng.random() < 0.5:
            return f"{scene.word.word} {rng.choice(('sign', 'lettering', 'poster'))}"
    else:
        colour, shape = rng.choice(tuple(COLOURS)), rng.choice(SHAPES)
        if rng.random() < 0.2:
            return f"{rng.choice(WORDS)} sign"
    return rng.choice(_KEYWORDS).format(colour=colour, shape=shape)


TextKind = Literal["alt", "web", "truth", "question", "none"]


def scene_text(scene: Scene, kind: TextKind, wrong: float, errors: Errors) -> str | None:
    """The original text of a scene: as `web_text`, as `noisy_caption`, true, a question and its answer, or none."""
    if kind == "none":
        return None
    if kind == "alt":
        return web_text(scene)
    if kind == "truth":
        return detailed_caption(scene, random.Random(f"true caption/{scene.split}/{scene.seed}/{scene.index}"))
    if kind == "question":
        asked = open_question(scene, random.Random(f"question/{scene.split}/{scene.seed}/{scene.index}"))
        return f"{asked.question} {asked.answer}"
    return noisy_caption(scene, wrong, errors)


def noisy_caption(scene: Scene, wrong: float, errors: Errors) -> str:
    """A detailed caption in which each fact is wrong with probability `wrong` (0 to 1).

    `errors`: weights of the ways to be wrong. swapped: one attribute of the sentence is changed. neighbour: a sentence of
    another scene that is false of this one stands there. omitted: nothing does; a caption keeps one sentence at least.
    The same scene has the same caption in every process.
    """
    rng = random.Random(f"noisy/{scene.split}/{scene.seed}/{scene.index}")
    neighbour = draw_scene(rng.randrange(2**31), 0, scene.split)
    strange: list[Claim] = [claim for claim in scene_claims(neighbour) if differences([claim], scene)]
    wording = rng.choices((0, 1, 2), (0.6, 0.2, 0.2))[0]
    told: list[Claim] = []
    facts = scene_claims(scene)
    for place, fact in enumerate(facts):
        if rng.random() >= wrong:
            told.append(fact)
            continue
        how = rng.choices(tuple(errors), tuple(errors.values()))[0]
        if how == "omitted" and (told or place + 1 < len(facts)):
            continue
        if how == "neighbour" and strange:
            told.append(strange.pop(rng.randrange(len(strange))))
            continue
        changed = falsified([fact], scene, rng)
        told.append(changed[0][0] if changed else fact)
    return " ".join(sentence(claim, wording) for claim in told)


_ADVERTS = (
    "Buy 2 get 1 free!",
    "shapes and colours worksheet for kids - printable PDF",
    "Click to enlarge",
    "stock vector, royalty free",
    "logo",
    "Home | Products | Contact",
)
_KEYWORDS = (
    "{colour} {shape} clipart free download",
    "{colour} {shape} icon png transparent",
    "{shape} {colour}",
    "Cute {colour} {shape} sticker",
)
