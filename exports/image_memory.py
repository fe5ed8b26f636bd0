"""The images of a row group as an Arrow column, in memory that is used again for the next row group.

Memory that the system gives anew costs more than the copy into it, so it is kept. A column is valid until the next one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


class ImageMemory:
    """As much memory as the largest row group so far needed."""

    def __init__(self) -> None:
        self._data = bytearray()

    def column(self, images: list[bytes | None], names: Iterable[str | None]) -> pa.StructArray:
        """Images and their file names as `datasets.Image` stores them; null without an image. Less than 2 GiB."""
        import numpy as np
        import pyarrow as pa

        sizes = np.fromiter((len(image) if image else 0 for image in images), np.int64, len(images))
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        if ends[-1] >= 2**31:
            raise ValueError(f"a row group of {ends[-1]:,} bytes of images; Arrow holds less than 2 GiB")
        if len(self._data) < ends[-1]:
            self._data = bytearray(int(ends[-1]))
        place = 0
        with memoryview(self._data) as view:
            for image in images:
                if image:
                    view[place : place + len(image)] = image
                    place += len(image)
        is_null = np.array([image is None for image in images], dtype=bool)
        valid = pa.py_buffer(np.packbits(~is_null, bitorder="little")) if is_null.any() else None
        buffers = [valid, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(self._data)]
        data = pa.BinaryArray.from_buffers(pa.binary(), len(images), buffers)
        paths = pa.array(list(names), pa.string())
        return pa.StructArray.from_arrays([data, paths], names=["bytes", "path"], mask=pa.array(is_null))
