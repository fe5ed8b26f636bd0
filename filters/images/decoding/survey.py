"""The structure of an image file, walked in a bounded number of steps without decoding anything.

Tells whether a file reaches its own end, how many frames it has, and what decoding it would cost.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from filters.images.decoding.problems import Problem, UndecodableImage

_MAX_PARTS = 400_000
"""Chunks, blocks, segments, strips, tiles or frames that one file may have. Each costs Pillow 100 bytes or more of
Python objects; GIFs of 100 MB, in blocks of 255 bytes, come close to it."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What the structure of a file tells without decoding it.

    `whole`: the file reaches its own end. `frames`: None where Pillow reads the count from the header. `size`: declared
    (width, height), where Pillow would allocate on opening or tell another size than the stored one. `bytes_per_pixel`:
    the decoder's peak memory for each pixel it decodes, measured; `fixed_bytes`: memory besides, which does not shrink
    when the image is shrunk while decoding. `halvings`: how often a JPEG 2000 can be halved while decoding.
    `scans`: of a JPEG, each over all of `size`. `notes`: what is wrong beside the pixels, in words.
    """

    whole: bool
    frames: int | None = 1
    size: tuple[int, int] | None = None
    bytes_per_pixel: float = 4.0
    fixed_bytes: int = 0
    halvings: int = 0
    scans: int = 1
    notes: tuple[str, ...] = ()


def _count_part(parts: int) -> int:
    if parts >= _MAX_PARTS:
        raise UndecodableImage(Problem.too_complex, f"more than {_MAX_PARTS:,} parts")
    return parts + 1


_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")
_JPEG_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a frame header (ITU-T T.81, table B.1)."""
JPEG_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
JPEG_SCAN, JPEG_END, JPEG_RESTARTS = 0xDA, 0xD9, 0xDD
_JPEG_BODY = 24
"""Bytes that are read of a segment: all of a header with four components."""


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The segments up to the end mark: marker, where its body begins, and the first bytes of that, its length first."""
    parts, position = 0, 2
    while (found := _JPEG_MARKER.search(data, position)) is not None:
        parts = _count_part(parts)
        marker, begin = data[found.start() + 1], found.end()
        body = data[begin : begin + _JPEG_BODY]
        yield marker, begin, body
        if marker == JPEG_END:
            return
        position = begin + int.from_bytes(body[:2])


def survey_jpeg(data: bytes) -> Survey:
    whole, buffered = False, False
    scans = width = height = components = coefficients = 0
    for marker, _, body in jpeg_segments(data):
        whole = marker == JPEG_END
        if marker in JPEG_FRAMES and len(body) >= 8:
            buffered |= marker in JPEG_PROGRESSIVE
            width, height = int.from_bytes(body[5:7]), int.from_bytes(body[3:5])
            components = body[7]
            areas = [(sampling >> 4) * (sampling & 15) for sampling in body[9 : 8 + 3 * components : 3]]
            coefficients = sum(width * height * area // max(1, *areas) for area in areas)
        elif marker == JPEG_SCAN:
            scans += 1
            buffered |= scans > 1 or body[2:3] != bytes([components])
    # Progressive images keep all coefficients, two bytes each, whatever size is wanted.
    return Survey(whole, size=(width, height), fixed_bytes=2 * coefficients if buffered else 0, scans=scans)


def jpeg_restarts_after(data: bytes, position: int) -> int:
    """How many restart marks follow."""
    return sum(1 for _ in _JPEG_RESTART.finditer(data, position))


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG up to its end: kind, begin of the content, end. The end may lie behind the file's."""
    parts, position = 0, 8
    while position + 8 <= len(data):
        parts = _count_part(parts)
        kind = data[position + 4 : position + 8]
        end = position + 8 + int.from_bytes(data[position : position + 4])
        yield kind, position + 8, end
        if kind == b"IEND":
            return
        position = end + 4


def survey_png(data: bytes) -> Survey:
    whole, frames = False, 1
    for kind, begin, _ in png_chunks(data):
        whole = kind == b"IEND"
        if kind == b"acTL":
            frames = min(max(1, int.from_bytes(data[begin : begin + 4])), _MAX_PARTS)
    return Survey(whole, frames)


def survey_gif(data: bytes) -> Survey:
    width, height = struct.unpack("<HH", data[6:10].ljust(4, b"\0"))
    frames, parts, position = 0, 0, 13 + _palette_bytes(data[10:11])
    while position < len(data):
        kind = data[position]
        if kind == 0x3B:
            return Survey(True, max(1, frames), (width, height), bytes_per_pixel=2.0)
        parts = _count_part(parts)
        if kind == 0x2C:
            place = data[position + 1 : position + 9].ljust(8, b"\0")
            left, top, frame_width, frame_height = struct.unpack("<4H", place)
            if frames == 0:  # the first frame may be larger than the screen; Pillow enlarges the screen
                width, height = max(width, left + frame_width), max(height, top + frame_height)
            frames += 1
            position += 11 + _palette_bytes(data[position + 9 : position + 10])
        elif kind == 0x21:
            position += 2
        else:
            position += 1
            continue
        while position < len(data) and data[position]:
            parts = _count_part(parts)
            position += 1 + data[position]
        position += 1
    return Survey(False, max(1, frames), (width, height), bytes_per_pixel=2.0)


def _palette_bytes(flags: bytes) -> int:
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def survey_webp(data: bytes) -> Survey:
    whole = int.from_bytes(data[4:8], "little") + 8 <= len(data)
    chunk, head = data[12:16], data[20:30].ljust(10, b"\0")
    size = None
    if chunk == b"VP8 ":
        width, height = struct.unpack("<HH", head[6:10])
        size = width & 0x3FFF, height & 0x3FFF
    elif chunk == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8X":
        size = int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    return Survey(whole, None, size, bytes_per_pixel=19.0)


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The outermost boxes of an AVIF or JP2 file: kind, begin of the content, end. The end may lie behind the file's."""
    parts, position = 0, 0
    while position + 8 <= len(data):
        parts = _count_part(parts)
        length, head = int.from_bytes(data[position : position + 4]), 8
        if length == 1:
            length, head = int.from_bytes(data[position + 8 : position + 16]), 16
        end = position + max(head, length) if length else len(data)  # 0: up to the end of the file
        yield data[position + 4 : position + 8], position + head, end
        position = end


def survey_avif(data: bytes) -> Survey:
    """Not covered: a file whose pixels are larger than it declares. The decoder takes up to 16384x16384 of them."""
    media = [end <= len(data) for kind, _, end in _boxes(data) if kind == b"mdat"]
    return Survey(bool(media) and all(media), None, bytes_per_pixel=18.0)


def survey_heif(data: bytes) -> Survey:
    """Not covered, as of AVIF: a file whose pixels are larger than it declares. libheif has bounds of its own."""
    media = [end <= len(data) for kind, _, end in _boxes(data) if kind in (b"mdat", b"meta")]
    return Survey(bool(media) and all(media), None, bytes_per_pixel=18.0)


def survey_bmp(data: bytes) -> Survey:
    return Survey(int.from_bytes(data[2:6], "little") <= len(data), bytes_per_pixel=6.0)


def survey_ppm(data: bytes) -> Survey:
    return Survey(True, bytes_per_pixel=6.0)


def survey_jpeg2000(data: bytes) -> Survey:
    """Code blocks, precincts and tiles cost OpenJPEG hundreds of bytes each, and a tiny file can declare millions."""
    boxed = not data.startswith(b"\xff\x4f")
    start = next((begin for kind, begin, _ in _boxes(data) if kind == b"jp2c"), len(data)) if boxed else 0
    if start + 42 > len(data):
        return Survey(False)
    x1, y1, x0, y0, tile_width, tile_height = struct.unpack(">6I", data[start + 8 : start + 32])
    components = int.from_bytes(data[start + 40 : start + 42])
    width, height = max(0, x1 - x0), max(0, y1 - y0)
    tile_width, tile_height = min(max(1, tile_width), max(1, width)), min(max(1, tile_height), max(1, height))
    tiles = math.ceil(width / tile_width) * math.ceil(height / tile_height)
    block, halvings, parts = 4096, 32, 0
    position, tile_end = start + 2, 0
    while position + 4 <= len(data):
        parts = _count_part(parts)
        if data[position] != 0xFF:
            break
        marker, length = data[position : position + 2], int.from_bytes(data[position + 2 : position + 4])
        body = data[position + 4 : position + 2 + length]
        if marker == b"\xff\x90" and len(body) >= 6:  # a tile part begins, and says how long it is
            tile_length = int.from_bytes(body[2:6])
            tile_end = position + tile_length if tile_length else len(data)
        elif marker == b"\xff\x93":  # the data of the tile part
            position = max(tile_end, position + 2)
            continue
        elif marker in (b"\xff\x52", b"\xff\x53"):
            # Coding style, of all components (COD) or of one (COC); what they share begins with the number of halvings.
            shared = 5 if marker == b"\xff\x52" else 2 if components < 257 else 3
            if len(body) < shared + 5:
                break
            style = body[0 if marker == b"\xff\x52" else shared - 1]
            halvings = min(halvings, body[shared])
            block = min(block, 1 << (body[shared + 1] & 15) + (body[shared + 2] & 15) + 4)
            if style & 1:  # precincts smaller than a block cut it
                block = min([block, *(1 << (sides & 15) + (sides >> 4) for sides in body[shared + 5 :])])
        elif marker == b"\xff\xd9":
            break
        position += 2 + length
    whole = data.rfind(b"\xff\xd9") > start
    blocks_per_pixel = components / block
    return Survey(
        whole,
        size=(width, height),
        bytes_per_pixel=4.0 + (6.0 * components + 4.0) * tile_width * tile_height / max(1, width * height),
        fixed_bytes=int(500 * blocks_per_pixel * tile_width * tile_height) + 10_000 * tiles,
        halvings=halvings if halvings < 32 else 0,
    )


_TIFF_TYPE_BYTES = dict(zip((*range(1, 14), 16, 17, 18), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 8, 8, 8), strict=True))
_TIFF_BYTE_TYPES = {1, 2, 7}


_TIFF_PIXEL_TAGS = frozenset(
    {
        254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 330, 332,
        338, 339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 34675, 34676, 50706,
    }
)  # fmt: skip
"""Tags that say what the pixels are, where they lie, or what stands on its head (TIFF 6.0; 34675 is the colour profile)."""


def survey_tiff(data: bytes, page: int = 0) -> Survey:
    """Of the page with that number, from 0; all but `frames` is about it alone."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    big = 43 in data[2:4]

    def number(at: int, length: int) -> int:
        return int.from_bytes(data[at : at + length], order)

    offset_bytes, count_bytes, entry_bytes = (8, 8, 20) if big else (4, 2, 12)
    directory = number(8 if big else 4, offset_bytes)
    whole = directory + count_bytes <= len(data)
    directories: set[int] = set()
    tags: dict[int, tuple[int, int, int]] = {}  # of the page: values, first value, last value
    written: dict[int, bytes] = {}
    repeated: set[int] = set()
    while directory and directory + count_bytes <= len(data) and directory not in directories:
        _count_part(len(directories))
        is_page = len(directories) == page
        entries = min(number(directory, count_bytes), len(data) // entry_bytes)
        at = directory + count_bytes
        for entry in range(at, at + entries * entry_bytes, entry_bytes) if is_page else ():
            tag, kind, count = number(entry, 2), number(entry + 2, 2), number(entry + 4, offset_bytes)
            if kind not in _TIFF_TYPE_BYTES:
                continue
            unit = _TIFF_TYPE_BYTES[kind]
            if kind not in _TIFF_BYTE_TYPES and count > _MAX_PARTS:
                raise UndecodableImage(Problem.too_complex, f"TIFF tag {tag} declares {count:,} values")
            content = data[entry : entry + entry_bytes]
            if tag in tags:
                if tag in _TIFF_PIXEL_TAGS and written[tag] != content:  # Pillow takes the last, libtiff the first
                    raise UndecodableImage(Problem.corrupt, f"TIFF tag {tag} comes twice")
                repeated.add(tag)
            first = entry + 4 + offset_bytes
            if unit * count > offset_bytes:
                first = number(first, offset_bytes)
                whole &= first + unit * count <= len(data)
            tags[tag] = count, number(first, unit), number(first + (count - 1) * unit, unit)
            written[tag] = content
        whole &= not is_page or at + entries * entry_bytes <= len(data)
        directories.add(directory)
        directory = number(at + entries * entry_bytes, offset_bytes)

    def value(tag: int, default: int) -> int:
        return tags.get(tag, (1, default, default))[1]

    if 50706 in tags or (value(254, 0) & 1 and 330 in tags):
        raise UndecodableImage(Problem.unsupported_format, "camera raw: its first page is only a thumbnail")
    for offsets, lengths in ((273, 279), (324, 325)):
        if offsets in tags and lengths in tags:
            whole &= tags[offsets][2] + tags[lengths][2] <= len(data)
    width, height = value(256, 0), value(257, 0)
    piece = value(322, 0) * value(323, 0) or width * min(value(278, height), height)
    upright_bytes = 4 if value(274, 1) != 1 else 0  # Pillow turns TIFFs while loading them
    lab_bytes = 8 if value(262, 0) == 8 else 0
    return Survey(
        whole,
        max(1, len(directories)),
        (width, height),
        bytes_per_pixel=4.0 + upright_bytes + lab_bytes,
        fixed_bytes=piece * max(value(277, 1) * value(258, 8) // 8, 4 if value(262, 0) == 6 else 1),
        notes=tuple(f"TIFF: tag {tag} comes twice" for tag in sorted(repeated)[:3]),
    )
