"""What counts as a caption: the names of columns tried, the text in a cell of any form, bytes to text, text to JSON."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

TEXT_COLUMNS: Final = (
    "text",
    "caption",
    "captions",
    "texts",
    "txt",
    "sentences",
    "sentence",
    "description",
    "alt_text",
    "alt",
    "conversations",
    "messages",
)
"""Names of the caption column, tried in this order, upper or lower case, where the user names none; alike in all sources."""

MOST_TEXTS: Final = 64
"""Captions of one row that become candidates: as many as a view has at most."""

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SPEAKERS: Final = ("gpt", "assistant", "model", "bot")


def text_column(names: Iterable[str], wanted: str | None) -> str | None:
    """The caption column among `names`: `wanted` itself where given, else the first of TEXT_COLUMNS; None: not there."""
    listed = list(names)
    if wanted:
        return wanted if wanted in listed else None
    lower = {name.lower(): name for name in reversed(listed)}
    return next((lower[name] for name in TEXT_COLUMNS if name in lower), None)


def texts_of(value: Any) -> tuple[str, ...]:
    """All captions in a cell, in order: text, bytes, a list of either, a struct with a text column, or a conversation.

    Of a conversation (LLaVA's `conversations`, chat `messages`) only the model's turns. Empty texts are left out.
    """
    return tuple(text for text in _texts(value, 0) if text)


def _texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, bytes):
        value = decode_text(value)
    if isinstance(value, str):
        yield value.removeprefix("\ufeff").strip().encode("utf-8", errors="replace").decode()
    elif depth > 4:
        return
    elif isinstance(value, (list, tuple)):
        for one in value:
            if _is_turn(one):
                if str(one.get("from", one.get("role"))).lower() in _SPEAKERS:
                    yield from _texts(one.get("value", one.get("content")), depth + 1)
            else:
                yield from _texts(one, depth + 1)
    elif isinstance(value, dict):
        column = text_column(value, None) or ("raw" if "raw" in value else None)
        if column is not None:
            yield from _texts(value[column], depth + 1)


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and ("from" in value or "role" in value) and ("value" in value or "content" in value)


def encoding_of(head: bytes) -> str:
    """The encoding of a text by its first bytes (up to 4,096 are looked at): by its byte order mark, else UTF-16 where
    every other byte is NUL, else 'utf-8'."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    head = head[:4096]
    if len(head) >= 4 and b"\0" in head:
        even, odd = head[0::2], head[1::2]
        if odd.count(0) > 0.4 * len(odd) and even.count(0) < 0.1 * len(even):
            return "utf-16-le"
        if even.count(0) > 0.4 * len(even) and odd.count(0) < 0.1 * len(odd):
            return "utf-16-be"
    return "utf-8"


def decode_text(data: bytes) -> str:
    """Bytes of a text file as text, without byte order mark; what is broken becomes U+FFFD."""
    return data.decode(encoding_of(data), errors="replace").removeprefix("\ufeff")


def parse_json(text: str | bytes) -> Any:
    """JSON of strangers. Raises ValueError, with words for the user, for whatever is wrong with it."""
    try:
        return json.loads(decode_text(text) if isinstance(text, bytes) else text)
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
