"""Files with all their pixels that a decoder refuses for something beside them: what can be left out or put in.

Mending is tried only after a file was refused, so whole files pay nothing for it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import Final

from filters.images.decoding.survey import (
    JPEG_END,
    JPEG_FRAMES,
    JPEG_PROGRESSIVE,
    JPEG_RESTARTS,
    JPEG_SCAN,
    jpeg_restarts_after,
    jpeg_segments,
    png_chunks,
)

_PNG_PIXELS: Final = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"}
"""Chunks without which the pixels would be others; damage to one of them is damage to the image."""
_PNG_KEPT_WHOLE: Final = {b"iCCP", b"eXIf"}
"""Colour profile and orientation: kept where nothing is wrong with them."""
_MAX_PROFILE_BYTES: Final = 1_000_000
"""Pillow refuses a PNG with a larger one (PngImagePlugin.MAX_TEXT_CHUNK is 2^20)."""


def png_without_extras(data: bytes) -> tuple[bytes, tuple[str, ...]] | None:
    """The file without texts and whatever else is no pixels, and the names of what was left out; None if there was nothing."""
    kept, left_out = [data[:8]], set()
    for kind, begin, end in png_chunks(data):
        chunk = data[begin - 8 : end + 4]
        if kind in _PNG_PIXELS or (kind in _PNG_KEPT_WHOLE and _is_whole(kind, data[begin:end], data[end : end + 4])):
            kept.append(chunk)
        else:
            left_out.add(kind.decode("ascii", "replace"))
    return (b"".join(kept), tuple(sorted(left_out))) if left_out else None


def _is_whole(kind: bytes, body: bytes, checksum: bytes) -> bool:
    if zlib.crc32(kind + body) != int.from_bytes(checksum):
        return False
    if kind != b"iCCP":
        return True
    _, separator, packed = body.partition(b"\0")
    if not separator or packed[:1] != b"\0":
        return False
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed[1:], _MAX_PROFILE_BYTES)
    except zlib.error:
        return False
    return not unpacker.unconsumed_tail


_JPEG_TAILS: Final = (b"", b"\xff\x00" * 64, b"\x5a\xa5" * 64)

_OWN_ZEROS: Final = 2
"""So many zeros at the end may be the scan's own: one scan of 256 ends with one."""


def jpeg_with_ends(data: bytes) -> Iterator[bytes]:
    """The file of a JPEG without end mark, ended in several ways; nothing if whole scans or restart intervals are missing.

    Where the pixels are complete, a decoder reads none of the bits between them and the end mark: all these files give the
    same pixels. Where some are missing, the decoder makes them of those bits, and the pixels differ.
    """
    body = _without_fill(data)
    if _scans_are_complete(body):
        for tail in _JPEG_TAILS:
            yield body + tail + b"\xff\xd9"


def _without_fill(data: bytes) -> bytes:
    """Without zeros at the end, with which a download may have reserved its place, and without half a marker."""
    body = data.rstrip(b"\0")
    if len(data) - len(body) <= _OWN_ZEROS:
        return data.rstrip(b"\xff")
    return body + b"\0" if body.endswith(b"\xff") else body  # 0xff 0x00 is data


def _scans_are_complete(data: bytes) -> bool:
    """Whether every coefficient of every component is told to its last bit by some scan, and the last scan has all the restart
    marks that it needs. Whether that scan itself ends in the middle is not known here."""
    progressive, interval, scans_end, marks = False, 0, 0, 0
    sides: dict[int, tuple[int, int]] = {}  # sampling factors by component
    bits: dict[int, list[int | None]] = {}  # by component and coefficient: bits that are still to come
    width = height = 0
    for marker, begin, body in jpeg_segments(data):
        if marker == JPEG_END:
            return False
        if marker in JPEG_FRAMES and len(body) >= 8 and not sides:
            progressive = marker in JPEG_PROGRESSIVE
            width, height = int.from_bytes(body[5:7]), int.from_bytes(body[3:5])
            for at in range(8, min(8 + 3 * body[7], len(body) - 2), 3):
                sides[body[at]] = (body[at + 1] >> 4, body[at + 1] & 15)
                bits[body[at]] = [None] * 64
        elif marker == JPEG_RESTARTS and len(body) >= 4:
            interval = int.from_bytes(body[2:4])
        elif marker == JPEG_SCAN and len(body) >= 6:
            count = body[2]
            components = list(body[3 : 3 + 2 * count : 2])
            after = 3 + 2 * count
            if not components or len(body) < after + 3 or not set(components) <= sides.keys():
                return False
            first, last, low = (body[after], body[after + 1], body[after + 2] & 15) if progressive else (0, 63, 0)
            for component in components:
                bits[component][first : last + 1] = [low] * max(0, min(last, 63) + 1 - first)
            scans_end = begin
            units = _units(width, height, components, sides)
            marks = math.ceil(units / interval) - 1 if interval else 0
    complete = bool(bits) and all(bit == 0 for component in bits.values() for bit in component)
    return complete and width * height > 0 and jpeg_restarts_after(data, scans_end) == marks


def _units(width: int, height: int, components: list[int], sides: dict[int, tuple[int, int]]) -> int:
    """How many minimum coded units a scan of these components has (ITU-T T.81, A.2)."""
    widest = max(1, *(side for side, _ in sides.values()))
    highest = max(1, *(side for _, side in sides.values()))
    if len(components) > 1:
        return math.ceil(width / (8 * widest)) * math.ceil(height / (8 * highest))
    own_width, own_height = sides[components[0]]
    blocks_a_row = math.ceil(math.ceil(width * own_width / widest) / 8)
    return blocks_a_row * math.ceil(math.ceil(height * own_height / highest) / 8)
