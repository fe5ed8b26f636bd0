"""A prepared image on its way through the engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class ImageItem:
    """A prepared image with the views still wanted for it. `rgb` is height * width * 3 bytes of uint8 sRGB."""

    key: str
    shard: str
    text: str | None
    views: tuple[int, ...]  # indexes into the group's views
    rgb: bytes
    width: int
    height: int
    source_width: int
    source_height: int
    source_format: str
    sha256: str
    context: Mapping[str, str | None] = field(
        default_factory=dict
    )  # expert -> its text; '' for nothing found, None: it failed

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> ImageItem:
        """From a row with these fields; those that it lacks or has as null are empty, the source's size that of `rgb`."""
        return cls(
            key=row["image_key"],
            shard=row["shard"],
            text=row.get("text"),
            views=tuple(row.get("views") or ()),
            rgb=row["rgb"],
            width=row["width"],
            height=row["height"],
            source_width=row.get("source_width") or row["width"],
            source_height=row.get("source_height") or row["height"],
            source_format=row.get("source_format") or "",
            sha256=row["sha256"],
            context=dict(row.get("context") or ()),
        )

    @property
    def work_id(self) -> str:
        """Names this piece of work: the same key may stand in two shards, or be prepared in two ways."""
        return f"{self.shard}\x1f{self.key}\x1f{self.views}"

    def image(self) -> Image.Image:
        """The picture, sharing this item's bytes."""
        from PIL import Image

        return Image.frombuffer("RGB", (self.width, self.height), self.rgb, "raw", "RGB", 0, 1)
