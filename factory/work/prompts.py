"""The prompt of an image: a seeded choice from the view's pool, the original text filled in.

The choice is weighted rendezvous hashing: prompt i draws -ln(u_i) / weight_i with u_i a hash of (seed, image key, view,
prompt id), and the least draw wins. P(i) = weight_i / sum of weights, the choice depends on nothing else, and changing
one prompt's text, or adding a prompt, moves no image between the others.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from factory.recipe import ORIGINAL, PLACE

NOTHING: Final = "none"
"""What stands in a prompt where an expert found nothing, unless the prompt says what: {ocr|no printed words}."""
NOT_KNOWN: Final = "unknown"
"""The same where it failed on the image."""
NO_CONTEXT: Final[Mapping[str, str | None]] = MappingProxyType({})
_LIKE_SPECIAL = re.compile(r"[<◁][^<>◁▷\s]{1,60}[>▷]|\[/?[A-Z][A-Z_]{1,30}\]")
"""What special tokens look like: <|im_end|>, <image>, <s>, ◁think▷, [INST]."""
_MAX_63 = 2**63 - 1


def _hash(*parts: object) -> int:
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def choose_prompt(seed: int, key: str, view: str, ids: Sequence[str], weights: Sequence[float]) -> int:
    """Index of the prompt of an image: depends only on seed, image key, view and the pool's ids and weights."""
    if len(ids) == 1:
        return 0
    draws = [
        -math.log((_hash("prompt", seed, key, view, name) + 1) / 2**64) / weight
        for name, weight in zip(ids, weights, strict=True)
    ]
    return draws.index(min(draws))


def request_seed(seed: int, key: str, view: str) -> int:
    """Sampling seed of candidate 0 in [0, 2^63 - 65]; candidate i samples with this plus i, as vLLM counts."""
    return _hash("sample", seed, key, view) % (_MAX_63 - 64)


def asks_original(prompt: str) -> bool:
    """Whether the image's original text is put into the prompt, where there is one."""
    return ORIGINAL in places(prompt)


def needs_original(prompt: str) -> bool:
    """Whether the prompt needs the image's original text (and says nothing for images without)."""
    return any(match["name"] == ORIGINAL and match["instead"] is None for match in PLACE.finditer(prompt))


def places(prompt: str) -> list[str]:
    """What is put into a prompt, in its order: `original`, and names of experts. Of `{{name}}` nothing: it stands for `{name}`."""
    found = (match["name"] for match in PLACE.finditer(prompt))
    return list(dict.fromkeys(name for name in found if name is not None))


def fill_prompt(
    prompt: str, original: str | None, special: Sequence[str] | None, context: Mapping[str, str | None] = NO_CONTEXT
) -> str | None:
    """The user text to send: {original} and the experts' names replaced; None where the original is needed and there is none.

    What is put in is untrusted: the model's special tokens in it (image placeholders, turn markers; `special`) lose
    their first character's magic by a space after it, so that a web page, or a poster, cannot add an image or a turn. It is put
    in once: braces in it stay braces.

    Args:
        prompt: as the recipe has it.
        original: the image's own text.
        special: the special tokens; None where they are not known.
        context: expert -> its text; '' where it found nothing, None where it failed.
    """
    filled = filled_prompt(prompt, original, special, context)
    return None if filled is None else filled[0]


def filled_prompt(
    prompt: str, original: str | None, special: Sequence[str] | None, context: Mapping[str, str | None] = NO_CONTEXT
) -> tuple[str, tuple[str, ...]] | None:
    """As `fill_prompt`, and the texts that were put in, in their order; those that stand for nothing found are none."""
    if original is None and needs_original(prompt):
        return None
    return _put_in(prompt, {**context, ORIGINAL: original}, special)


def fill_inputs(
    prompt: str, inputs: Mapping[str, str | None], special: Sequence[str] | None
) -> tuple[str, tuple[str, ...]] | None:
    """The user text of a fusion, and the captions that were put in, in their order; None where one is needed and there is none.

    Args:
        prompt: has a place for each: {name}, or {name|what stands there without one}.
        inputs: the captions by view.
        special: see `neutralise`; captions are untrusted, whoever wrote them.
    """
    places = (match for match in PLACE.finditer(prompt) if match["name"] in inputs)
    if any(inputs[match["name"]] is None and match["instead"] is None for match in places):
        return None
    return _put_in(prompt, inputs, special)


def _put_in(prompt: str, texts: Mapping[str, str | None], special: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """The prompt with a text at each place, and those texts; words for what was not found, or is not known, are none of them."""
    given: list[str] = []

    def put(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:  # {{name}}
            return match[0][1:-1]
        text = texts.get(name)
        if text is None or (not text and name != ORIGINAL):
            instead: str | None = match["instead"]
            return instead if instead is not None else NOT_KNOWN if text is None else NOTHING
        clean = neutralise(text, special)
        given.append(clean)
        return clean

    return PLACE.sub(put, prompt), tuple(given)


def neutralise(text: str, special: Sequence[str] | None) -> str:
    """The text with every special token broken up, so that no tokenizer reads it as one.

    None: the tokenizer is not known, as behind a server; then everything that has the shape of one is.
    """
    if special is None:
        return _LIKE_SPECIAL.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
    for token in sorted((token for token in special if token.strip()), key=len, reverse=True):
        if token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}" if len(token) > 1 else " ")
    return text
