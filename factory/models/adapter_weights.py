"""Which part of a vision-language model a LoRA adapter changes, by the names of its weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

WEIGHTS: Final = "adapter_model.safetensors"
MOST_HEADER: Final = 100_000_000
"""Bytes of a header, above which a file is no safetensors file (its own library's limit)."""
_LANGUAGE: Final = re.compile(
    r"(?:^|\.)(?:language_model|text_model|llm|lm_head|embed_tokens)\.|^(?:base_model\.model\.)?(?:model\.)*layers\."
)
"""Weights of the language model. Everything else belongs to the vision tower or to what connects it."""


def beside_the_language_model(adapter: Path) -> list[str]:
    """The names of an adapter's weights that are not of the language model; [] where the file is not safetensors.

    Args:
        adapter: directory of the adapter, as PEFT writes it.
    """
    try:
        with (adapter / WEIGHTS).open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size <= MOST_HEADER else {}
    except (OSError, ValueError, RecursionError):
        return []
    return [name for name in header if name != "__metadata__" and not _LANGUAGE.search(name)]
