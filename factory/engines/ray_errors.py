"""How typed errors come through Ray.

Ray gives what a task or an actor raises as text, wrapped in its own. So the functions that it calls seal typed errors into
their text (`seals_errors`), and `typed_error` opens them on the other side.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Final

from factory.errors import EngineError, FactoryError, RunError, SourceError, disk_full, is_disk_full
from filters.contract.filter import FilterError

_SEAL: Final = re.compile(r"<<factory-error (\{.*?\}) factory-error>>")
_KINDS: Final = {kind.__name__: kind for kind in (EngineError, RunError, SourceError)}


class SealedError(Exception):
    """A typed error as text that survives any wrapping."""


def sealed(error: FactoryError) -> SealedError:
    """The error in a form that `typed_error` opens, however Ray wraps it; an unknown kind becomes an EngineError."""
    kind = type(error).__name__ if type(error).__name__ in _KINDS else "EngineError"
    return SealedError(f"<<factory-error {json.dumps({'kind': kind, 'says': str(error)})} factory-error>>")


def seals_errors(function: Callable[..., Any]) -> Any:
    """A decorator for what Ray calls, plain, generating or asynchronous: its typed errors and those of disks are sealed."""
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def asynchronous(*arguments: Any, **named: Any) -> Any:
            try:
                return await function(*arguments, **named)
            except (FactoryError, FilterError, OSError) as error:
                raise sealed(_typed(error)) from error

        return asynchronous
    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def generating(*arguments: Any, **named: Any) -> Iterator[Any]:
            try:
                yield from function(*arguments, **named)
            except (FactoryError, FilterError, OSError) as error:
                raise sealed(_typed(error)) from error

        return generating

    @wraps(function)
    def calling(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except (FactoryError, FilterError, OSError) as error:
            raise sealed(_typed(error)) from error

    return calling


def _typed(error: FactoryError | FilterError | OSError) -> FactoryError:
    if isinstance(error, FactoryError):
        return error
    if isinstance(error, FilterError):
        return RunError(str(error))
    return RunError(
        f"{error.filename or 'the run directory'}: {error.strerror}; make room or choose another --out, then run again: "
        "what is finished is kept"
    )


def typed_error(error: BaseException) -> FactoryError:
    """The typed error behind what Ray raised; whatever else it is becomes an EngineError with its last line."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, FactoryError) and type(current) is not FactoryError:
            return type(current)(*current.args)
        if isinstance(current, OSError):
            return _typed(current)
        current = getattr(current, "cause", None) or current.__cause__ or current.__context__
    text = str(error)
    if found := _SEAL.search(text):
        content = json.loads(found[1])
        return _KINDS[content["kind"]](content["says"])
    if is_disk_full(error):
        return RunError(
            disk_full("the run, or of Ray's temporary files" if "OutOfDisk" in f"{type(error)}{text}" else None)
        )
    lines = [line.strip() for line in text.splitlines() if re.match(r"\s*[\w.]*(Error|Exception)\b.*: ", line)]
    return EngineError(f"{lines[0] if lines else type(error).__name__}; the logs of the run say more")
