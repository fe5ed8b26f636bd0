"""The process that an expert looks at images in: `python -m factory.experts.child`. See `child_process.py` for what is said.

What experts print goes to the error output, so that the answers stay alone on theirs.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import time
from typing import IO, Any, Final

HEADER: Final = struct.Struct("<Q")


def main() -> None:
    """Load an expert, then look at images until the parent is gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    asked = sys.stdin.buffer
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    order = json.loads(_read(asked) or b"{}")
    sys.path[:] = order["path"]
    from factory.experts.contract import Expert

    try:
        made = _made(order)
        made.load()
        import filters.images.decoding.decoder
        import filters.images.pixels  # noqa: F401  (now, so that it is not counted as time of the first image)
    except Exception as error:
        _say(answers, {"problem": str(error) if _is_ours(error) else f"{type(error).__name__}: {error}"})
        return
    assert isinstance(made, Expert)
    _say(answers, {"ready": True})
    while (data := _read(asked)) is not None:
        _say(answers, _looked(made, data))


def _made(order: dict[str, Any]) -> Any:
    from importlib import import_module

    from factory.experts.contract import as_kind

    value: Any = import_module(order["module"])
    for step in order["name"].split("."):
        value = getattr(value, step)
    kind = as_kind(value)
    if kind is None:
        raise TypeError(f"{order['module']}.{order['name']} is no expert here")
    return kind.model_validate(order["settings"])


def _is_ours(error: Exception) -> bool:
    from factory.errors import FactoryError

    return isinstance(error, FactoryError)


def _looked(made: Any, data: bytes) -> dict[str, Any]:
    """What the expert says of the bytes of an image file: text and findings, or why there are none."""
    from factory.experts.contract import findings_of
    from factory.experts.foreign_words import foreign_words
    from filters.images.pixels import UnreadableImage, decode

    try:
        image = decode(data, made.max_side)
        image.thumbnail((made.max_side, made.max_side))
    except UnreadableImage as unreadable:
        return {"reason": "undecodable", "detail": unreadable.reason}
    except MemoryError:
        return {"reason": "undecodable", "detail": "no memory was left for this image"}
    try:
        found = made.look(image)
    except Exception as error:  # whatever it raises, it is about this image
        return {"reason": "error", "detail": foreign_words(f"{type(error).__name__}: {error}", 300)}
    try:
        findings = findings_of(found, *image.size)
        text = foreign_words(made.words(findings), made.max_chars) if findings else ""
    except Exception as error:
        return {"reason": "bad_answer", "detail": foreign_words(f"{type(error).__name__}: {error}", 300)}
    listed = [[one.text, one.confidence, one.box] for one in findings]
    return {"text": text, "findings": listed if text else []}


def _read(asked: IO[bytes]) -> bytes | None:
    head = asked.read(HEADER.size)
    if len(head) < HEADER.size:
        return None
    (size,) = HEADER.unpack(head)
    data = asked.read(size)
    return data if len(data) == size else None


def _say(answers: IO[bytes], content: dict[str, Any]) -> None:
    said = json.dumps(content, allow_nan=False).encode()
    answers.write(HEADER.pack(len(said)) + said)
    answers.flush()


def _end_with(parent: int) -> None:
    """End when the parent has, also in the middle of an image."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
