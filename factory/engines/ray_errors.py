"""What a user is told of an error that came through Ray."""

from __future__ import annotations

import re

from factory.errors import EngineError, FactoryError, RunError, SourceError


def typed_error(error: BaseException) -> FactoryError:
    """The typed error behind what Ray raised; whatever else it is becomes an EngineError with its last line."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, FactoryError) and type(current) is not FactoryError:
            return type(current)(*current.args)
        if isinstance(current, OSError):
            return RunError(
                f"{current.filename or 'the run directory'}: {current.strerror}; make room or choose another --out, then run again: what is finished is kept"
            )
        current = getattr(current, "cause", None) or current.__cause__ or current.__context__
    text = str(error)
    for kind in (EngineError, SourceError, RunError):
        mark = f"{kind.__name__}: "
        if mark in text:
            return kind(text.split(mark, 1)[1].strip().split("\n\n")[0])
    lines = [line.strip() for line in text.splitlines() if re.match(r"\s*[\w.]*(Error|Exception)\b.*: ", line)]
    return EngineError(f"{lines[0] if lines else type(error).__name__}; the logs of the run say more")
