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
            stat = f"{self.settings.seed}:{stop}"
            if self.settings.text != "alt":
                stat += ":" + self.settings.model_dump_json(exclude={"scenes", "seed", "kind"})
            yield Shard(f"scenes-{start:09d}", stop - start, stat, {"start": start, "stop": stop})

    def keys(self, shard: Shard) -> list[str]:
        """The keys of a shard."""
        from factory.demo.scenes import scene_key

        return [scene_key(index) for index in range(shard.spec["start"], shard.spec["stop"])]

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """Draw the scenes of a shard."""
        from factory.demo.scenes import draw_scene, scene_image
        from factory.demo.source_row import scene_text

        settings = self.settings
        for index in range(shard.spec["start"], shard.spec["stop"]):
            scene = draw_scene(settings.seed, index)
            text = scene_text(scene, settings.text, settings.wrong, settings.errors)
            yield SourceRow(scene.key, scene_image(scene), next(iter(texts_of(text)), None))


SOURCE = DemoImages
