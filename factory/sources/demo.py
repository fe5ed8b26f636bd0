"""The demo world as a source: scenes drawn on the fly; the truth about them stays in `factory/demo/truth.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from factory.recipe import DemoSource
from factory.sources.caption_text import texts_of
from factory.sources.source import Shard, SourceRow

if TYPE_CHECKING:
    from exports.storage import Storage

SCENES_PER_SHARD = 128


class DemoImages:
    """Scenes 0 ... scenes-1 of a seed."""

    def __init__(self, settings: DemoSource, scratch: Storage | None = None) -> None:
        self.settings = settings

    def shards(self) -> Iterator[Shard]:
        """Runs of SCENES_PER_SHARD scenes."""
        for start in range(0, self.settings.scenes, SCENES_PER_SHARD):
            stop = min(start + SCENES_PER_SHARD, self.settings.scenes)
            yield Shard(
                f"scenes-{start:09d}", stop - start, f"{self.settings.seed}:{stop}", {"start": start, "stop": stop}
            )

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """Draw the scenes of a shard."""
        from factory.demo.source_row import source_row

        for index in range(shard.spec["start"], shard.spec["stop"]):
            row = source_row(self.settings.seed, index)
            yield SourceRow(row.key, row.image, next(iter(texts_of(row.text)), None))


SOURCE = DemoImages
