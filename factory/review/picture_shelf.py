"""The pictures of a source for pages: found by shard and key, decoded as untrusted bytes, kept small in memory."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable
from io import BytesIO
from typing import Final

from exports.storage import Storage
from factory.errors import FactoryError
from factory.images.prepare import Rejection, prepare_image, thumbnail
from factory.recipe import ORIGINAL_IMAGE, CaptionsSource, Recipe
from factory.sources import open_source
from factory.sources.source import ImageSource, Shard

SIDES: Final = {"small": 480, "medium": 800, "large": 1600}
"""Pixels on the longer side, by size."""
KEPT_BYTES: Final = 60_000_000
MAX_PIXELS: Final = 1600 * 1600
MAX_BYTES: Final = 100_000_000

Place = tuple[str, str]
"""Shard and image key."""


class PictureShelf:
    """Pictures by (shard, key). Reading a shard serves all that wait for one of its pictures. Safe to use from threads."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._settings = ORIGINAL_IMAGE.model_copy(update={"max_pixels": MAX_PIXELS})
        self._scratch = tempfile.TemporaryDirectory(prefix="caption-factory-review-")
        self._kept: OrderedDict[tuple[Place, str], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._wanted: dict[str, set[str]] = {}
        self._reading: dict[str, threading.Lock] = {}
        self._listing = threading.Lock()
        self._source: ImageSource | None = None
        self._shards: dict[str, Shard] | None = None

    @property
    def has_pictures(self) -> bool:
        """Whether the source has images; captions alone have none."""
        return not isinstance(self._recipe.source, CaptionsSource)

    def picture(self, shard: str, key: str, size: str) -> bytes | None:
        """A JPEG of a picture; None where it is gone or cannot be decoded."""
        place = (shard, key)
        found = self._get(place, size)
        if found is not None:
            return found or None
        with self._lock:
            self._wanted.setdefault(shard, set()).add(key)
            reading = self._reading.setdefault(shard, threading.Lock())
        with reading:
            found = self._get(place, size)
            if found is None:
                with self._lock:
                    wished = self._wanted.pop(shard, set())
                    keys = {one for one in wished if ((shard, one), size) not in self._kept} | {key}
                self._read(shard, keys, size)
                found = self._get(place, size)
        return found or None

    def sides(self, shard: str, key: str) -> tuple[int, int] | None:
        """Pixels of a picture as it is shown; None where it is gone."""
        from PIL import Image

        data = self.picture(shard, key, "large")
        return None if data is None else Image.open(BytesIO(data)).size

    def want(self, places: Iterable[Place]) -> None:
        """Say which pictures will be asked for soon: whoever reads their shard takes them along. Earlier wishes are forgotten."""
        with self._lock:
            self._wanted.clear()
            for shard, key in places:
                self._wanted.setdefault(shard, set()).add(key)

    def close(self) -> None:
        """Forget the listing of the source."""
        self._scratch.cleanup()

    def _get(self, place: Place, size: str) -> bytes | None:
        with self._lock:
            found = self._kept.get((place, size))
            if found is not None:
                self._kept.move_to_end((place, size))
            return found

    def _keep(self, place: Place, size: str, data: bytes) -> None:
        with self._lock:
            before = self._kept.pop((place, size), b"")
            self._kept[(place, size)] = data
            self._bytes += len(data) - len(before)
            while self._bytes > KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])

    def _read(self, shard: str, keys: set[str], size: str) -> None:
        """Put pictures of these keys on the shelf; b'' for those that are not there."""
        left = set(keys)
        try:
            listed = self._listed().get(shard)
            if listed is not None and self._source is not None:
                for row in self._source.read(listed, MAX_BYTES):
                    if row.key in left:
                        left.discard(row.key)
                        self._keep((shard, row.key), size, self._small(row.data, size))
                    if not left:
                        break
        except (
            FactoryError,
            OSError,
        ):  # the source is away just now: the page says so, and a later look finds it again
            return
        for key in left:
            self._keep((shard, key), size, b"")

    def _small(self, data: bytes | None, size: str) -> bytes:
        if data is None:
            return b""
        prepared = prepare_image(data, self._settings)
        return b"" if isinstance(prepared, Rejection) else thumbnail(prepared, SIDES[size])

    def _listed(self) -> dict[str, Shard]:
        with self._listing:
            if self._shards is None:
                self._source = open_source(self._recipe, Storage(self._scratch.name))
                self._shards = {shard.name: shard for shard in self._source.shards()}
            return self._shards
