"""The small files of a model, read without loading it: its config and its chat template."""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from factory.models.resolve import Model

_TEMPLATE_FILES: Final = (
    ("chat_template.jinja", None),
    ("chat_template.json", "chat_template"),
    ("processor_config.json", "chat_template"),
    ("tokenizer_config.json", "chat_template"),
)
"""Where a chat template may lie, in the order in which transformers looks, and the key that holds it in a JSON file."""

SILENCE_S: Final = 60.0
"""Seconds for which a Hub that did not answer is not asked again: each try takes the client's own retries."""
_silent_until = 0.0


@cache
def model_config(model: Model) -> dict[str, Any] | None:
    """config.json of a model; None where it is not there or cannot be read. Of a Hub id it is fetched (a few kB)."""
    config = _json(model, "config.json")
    return config if isinstance(config, dict) else None


@cache
def chat_template(model: Model) -> str | None:
    """The Jinja template with which a model is talked to, the default one of several; None where none is found."""
    for name, key in _TEMPLATE_FILES:
        found: Any = _text(model, name) if key is None else (_json(model, name) or {}).get(key)
        if isinstance(found, list):  # [{"name": ..., "template": ...}], as tokenizers keep several
            found = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        if isinstance(found, dict):
            found = found.get("default")
        if isinstance(found, str) and found:
            return found
    return None


def _json(model: Model, name: str) -> Any:
    try:
        return json.loads(_text(model, name) or "null")
    except ValueError:
        return None


def _text(model: Model, name: str) -> str | None:
    if model.is_served:
        return None
    file = Path(model.path) / name if model.is_local else _of_the_hub(model, name)
    try:
        return file.read_text() if file else None
    except (OSError, UnicodeDecodeError):
        return None


def _of_the_hub(model: Model, name: str) -> Path | None:
    global _silent_until
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    cached = try_to_load_from_cache(model.path, name, revision=model.revision)
    if isinstance(cached, str):
        return Path(cached)
    if cached is not None or constants.HF_HUB_OFFLINE or time.monotonic() < _silent_until:
        return None  # known not to be there, or nobody to ask
    try:
        return Path(hf_hub_download(model.path, name, revision=model.revision, etag_timeout=5))
    except HfHubHTTPError:  # it answers: there is no such file, or not for us
        return None
    except Exception:  # whatever the Hub's client raises where nobody answers
        _silent_until = time.monotonic() + SILENCE_S
        return None
