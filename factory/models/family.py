"""Which family a model is of: judges are lenient with captions of their own kind (facts of self-preference: arXiv 2604.11589).

A family is the maker's line of models, so that qwen2_5_vl and qwen3_vl are one. It is the word with which `model_type` of the
model's config.json begins; of a model behind a server, whose config nobody sees, a known word in its name; else unknown.
Limitation: models trained by one maker on another's captions count as two families.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from factory.models.files import model_config
from factory.models.resolve import Model

KNOWN: Final = (
    "qwen", "internvl", "llava", "idefics", "smolvlm", "paligemma", "gemma", "gemini", "gpt", "claude", "pixtral", "mistral",
    "phi", "molmo", "minicpm", "deepseek", "glm", "mllama", "llama", "florence", "blip", "kosmos", "ovis", "aya", "nova",
    "grok", "kimi", "cogvlm", "aria", "moondream", "granite", "ernie", "step", "keye", "mimo",
)  # fmt: skip
"""Words that name a family in the name of a model; where one holds another, the longer comes first."""


@cache
def model_family(model: Model) -> str | None:
    """The family of a model, such as "qwen"; None where nothing tells. Of one behind a server only its name is known.

    Of a Hub id config.json is looked for in the local cache, and fetched (a few kB) where the Hub can be reached.
    """
    kind = _model_type(model)
    return _first_word(kind) if kind else _named(model.name)


def _first_word(model_type: str) -> str | None:
    """ "qwen3_vl_moe" -> "qwen", "internvl_chat" -> "internvl"."""
    found = re.match(r"[a-z]+", model_type.lower())
    return found.group() if found else None


def _named(name: str) -> str | None:
    words: list[str] = re.findall(r"[a-z]+", name.rsplit("/", 1)[-1].lower())
    return next((family for family in KNOWN for word in words if word.startswith(family)), None)


def _model_type(model: Model) -> str | None:
    kind = (model_config(model) or {}).get("model_type")
    return kind if isinstance(kind, str) else None
