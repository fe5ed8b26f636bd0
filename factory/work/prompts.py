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

_ORIGINAL = re.compile(r"\{original(?:\|([^{}]*))?\}")
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
    return _ORIGINAL.search(prompt) is not None


def needs_original(prompt: str) -> bool:
    """Whether the prompt needs the image's original text (and says nothing for images without)."""
    return any(match.group(1) is None for match in _ORIGINAL.finditer(prompt))


def fill_prompt(prompt: str, original: str | None, special: Sequence[str] | None) -> str | None:
    """The user text to send: {original} replaced; None where it is needed and there is none.

    The original text is untrusted: the model's special tokens in it (image placeholders, turn markers; `special`) lose
    their first character's magic by a space after it, so that a web page cannot add an image or a turn.
    """
    if original is None and needs_original(prompt):
        return None
    clean = neutralise(original, special) if original is not None else None
    return _ORIGINAL.sub(lambda match: clean if clean is not None else match.group(1), prompt)


def fill_inputs(prompt: str, inputs: Mapping[str, str | None], special: Sequence[str] | None) -> str | None:
    """The user text of a fusion: the place of each of these captions filled in; None where one is needed and there is none.

    Args:
        prompt: has a place for each: {name}, or {name|what stands there without one}.
        inputs: the captions by view.
        special: see `neutralise`; captions are untrusted, whoever wrote them.
    """
    names = "|".join(re.escape(name) for name in sorted(inputs, key=len, reverse=True))
    place = re.compile(rf"\{{({names})(?:\|([^{{}}]*))?\}}")
    if any(inputs[match[1]] is None and match[2] is None for match in place.finditer(prompt)):
        return None
    clean = {name: None if text is None else neutralise(text, special) for name, text in inputs.items()}
    return place.sub(lambda match: found if (found := clean[match[1]]) is not None else match[2], prompt)


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
