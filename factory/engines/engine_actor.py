"""A Ray actor that holds one engine, or the client of a server, and does with it what it is given: captions, answers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.engines.ray_errors import seals_errors
from factory.engines.use import NOTHING
from factory.errors import EngineError

if TYPE_CHECKING:
    import pyarrow as pa

    from factory.engines.bare_speed import BareLoad, BareSpeed
    from factory.work.views import EngineGroup
    from filters.asking.server import Server


@dataclass(frozen=True)
class Duty:
    """What is done with an engine: `kind(engine, log, **arguments)` is made once in the engine's process, and called with
    tables; it gives what it reports of each. Several of its calls run at once.
    """

    kind: type
    arguments: Mapping[str, Any]


class EngineActor:
    """An engine in a process of its own, for as long as it is needed."""

    @seals_errors
    def __init__(self, served: EngineGroup | Server, log: str | None) -> None:
        """Start an engine for these views, or ask the server which models it serves.

        Raises:
            EngineError: it cannot start; with the last words of its log.
        """
        from factory.engines.logs import last_words, redirect_output
        from factory.work.views import EngineGroup

        started = time.monotonic()
        self.log = redirect_output(log, "engine" if isinstance(served, EngineGroup) else "server")
        try:
            if isinstance(served, EngineGroup):
                from factory.engines.vllm_engine import Engine

                self.engine: Any = Engine(served)
            else:
                from factory.engines.server import ServerEngine

                self.engine = ServerEngine(served)
        except EngineError as error:
            raise EngineError(f"{error}\n{last_words(self.log)}".strip()) from None
        self._duties: dict[int, Callable[[pa.Table], Awaitable[pa.Table]]] = {}
        self.start_seconds = time.monotonic() - started

    async def started(self) -> float:
        """The seconds that the start took."""
        return self.start_seconds

    async def use(self) -> dict[str, float]:
        """Seconds that the engine was used, as of `EngineUse.seconds`; of a server nothing is known."""
        use = getattr(self.engine, "use", None)
        return use.seconds() if use is not None else NOTHING

    @seals_errors
    async def bare(self, load: BareLoad) -> BareSpeed | None:
        """What the engine does with a load and nothing else; None where it cannot be told."""
        from factory.engines.bare_speed import measure_bare

        return await measure_bare(self.engine, load)

    @seals_errors
    async def work(self, number: int, duty: list[Any], block: pa.Table, start: int, rows: int) -> pa.Table:
        """What a duty reports of some rows of a block.

        Args:
            number: of the duty, its name in this process.
            duty: the reference of a Duty, in a list so that it is fetched once and not with every call.
            block: a table of the duty's kind.
            start: the first of its rows that are meant.
            rows: how many of them.
        """
        if number not in self._duties:
            given: Duty = await duty[0]
            if number not in self._duties:
                self._duties[number] = given.kind(self.engine, self.log, **given.arguments)
        return await self._duties[number](block.slice(start, rows))

    def stop(self) -> None:
        """Stop the engine."""
        self.engine.stop()
