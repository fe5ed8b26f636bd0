"""A source of a plugin, held to its contract: what its code does wrong is told as its fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from factory.errors import FactoryError, SourceError
from factory.sources.source import Shard, SourceRow

if TYPE_CHECKING:
    from exports.storage import Storage


class PluginSource:
    """The rows of a plugin's source. Raises SourceError that names the plugin where its code fails or gives something else."""

    def __init__(self, reader: Any, settings: Any, scratch: Storage) -> None:
        self.kind = str(settings.kind)
        try:
            self.source = reader(settings, scratch)
        except Exception as error:
            raise self._fault("when it is made", error) from error

    def shards(self) -> Iterator[Shard]:
        """As the plugin's."""
        yield from self._checked(self.source.shards, (), Shard)

    def keys(self, shard: Shard) -> list[str] | None:
        """As the plugin's; None where it has no such list."""
        listed = getattr(self.source, "keys", None)
        return None if listed is None else listed(shard)

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """As the plugin's."""
        yield from self._checked(self.source.read, (shard, max_bytes), SourceRow)

    def _checked(self, method: Any, arguments: tuple[Any, ...], kind: type[Any]) -> Iterator[Any]:
        try:
            for one in method(*arguments):
                if not isinstance(one, kind):
                    raise TypeError(f"it gave a {type(one).__name__} instead of a {kind.__name__}")
                yield one
        except Exception as error:
            raise self._fault(f"in {method.__name__}()", error) from error

    def _fault(self, where: str, error: Exception) -> Exception:
        if isinstance(error, (FactoryError, OSError)):
            return error
        said = f"{type(error).__name__}: {error}"
        return SourceError(
            f"the source of the plugin, kind '{self.kind}', failed {where}: {said}. The fault is in its code (docs/own-source.md); "
            "--debug shows where"
        )
