"""Bytes of an image file → pixels a model can look at, or the reason why there are none.

`prepare_image` is the only place of the factory that decodes foreign bytes, so it trusts none of them. It goes in this
order, and every step may end the way with a `Rejection`:

1. *Identify* the format by content, never by name, against a short list of formats with decoders in C.
2. *Survey* the file: walk its structure in a bounded number of steps, without decoding, to learn whether it reaches its
   own end, how many frames it has and what decoding would cost. The declared size is checked here or right after the
   header was read, before memory for pixels exists.
3. *Decode* the first frame. JPEG and JPEG 2000 are shrunk while decoding, which saves most of their time and memory.
4. *Shrink* to the pixel budget, in strips: a huge 16-bit or transparent image is never there twice.
5. *Convert* to sRGB on white, and turn upright. Both come last because a small image costs little.

What is not promised: time. A hostile file of `max_bytes` can keep a decoder busy for many seconds; whoever calls this
for strangers' files on a deadline needs a time-out of its own.
"""

import io
import math
import re
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import chain
from typing import Literal

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from factory.recipe import ImageSettings

# By default every AVIF decoder starts a thread per core, and the factory already runs a worker per core.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
# Pillow warns of broken metadata, of every file anew. What matters of it ends in a reason.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

VERSION = 1
"""Part of the fingerprint of prepared images: raised with every change after which the same bytes give other pixels or
another reason."""


class Reason(StrEnum):
    """Why an image could not be used. The values are stored in the quarantine table, so they never change.

    The first two are given by whoever reads the source; `prepare_image` gives the others.
    """

    no_image = "no_image"
    duplicate_key = "duplicate_key"
    empty = "empty"
    too_many_bytes = "too_many_bytes"
    not_an_image = "not_an_image"
    unsupported_format = "unsupported_format"
    truncated = "truncated"
    corrupt = "corrupt"
    too_many_pixels = "too_many_pixels"
    too_complex = "too_complex"
    too_small = "too_small"
    too_elongated = "too_elongated"
    out_of_memory = "out_of_memory"


REASONS: Mapping[Reason, str] = {
    Reason.no_image: "The row of the source has no image: an empty cell, or a path to no file. Repair the row.",
    Reason.duplicate_key: "Another row before it has the same image key; keys must be unique. Rename one.",
    Reason.empty: "The file has no bytes. Fetch it again.",
    Reason.too_many_bytes: "The file is larger than image.max_bytes. Raise it, or make the file smaller.",
    Reason.not_an_image: "The content is no image (text, a web page, a video, ...), whatever its name says.",
    Reason.unsupported_format: "An image of a kind that is not read here. Convert it to JPEG, PNG, WebP or AVIF.",
    Reason.truncated: "The file ends too early, as after a broken download. Fetch it again.",
    Reason.corrupt: "The file contradicts its own format. Fetch it again, or repair it with an image editor.",
    Reason.too_many_pixels: "Decoding would need more pixels or memory than image.max_source_pixels allows."
    " Raise it, or make the image smaller.",
    Reason.too_complex: "The file is cut into so many parts that reading it would take minutes or gigabytes."
    " Save it again with an image editor.",
    Reason.too_small: "The shorter side has fewer pixels than image.min_side.",
    Reason.too_elongated: "The longer side is more than image.max_aspect times the shorter one.",
    Reason.out_of_memory: "No memory was left for this image. Run fewer workers, or lower image.max_source_pixels.",
}
"""For every reason, one line: what it means and what can be done. Documentation and report read it from here."""


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image ready for a model.

    `rgb` holds `height * width * 3` bytes, row by row from the top left, uint8 sRGB. `source_format` is Pillow's name
    of the format (`JPEG`, `PNG`, ...). `source_width` and `source_height` are the pixels as stored in the file, before
    it is turned upright. `frames` counts animation frames or pages, at least 1; only the first is in `rgb`.
    """

    rgb: bytes
    width: int
    height: int
    source_format: str
    source_width: int
    source_height: int
    frames: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """An image that cannot be used: the reason, and a printable detail of one line, at most 200 characters."""

    reason: Reason
    detail: str


def prepare_image(data: bytes, settings: ImageSettings) -> PreparedImage | Rejection:
    """Turn the bytes of an image file into upright 8-bit sRGB pixels on white, within the view's pixel budget.

    The result has at most `settings.max_pixels` pixels in the aspect of the source, each side rounded down but at least
    1; an image within the budget keeps its size. Embedded ICC profiles are applied, a broken one is ignored.
    Unsigned 16-bit grey is scaled by its nominal range; signed, 32-bit and float grey, which have none, by their own.

    The bytes may be anything. Every failure is a `Rejection`; no exception leaves but those that end the process
    (`KeyboardInterrupt`, `SystemExit`). Safe to call from several threads at once.
    """
    try:
        return _prepare(data, settings)
    except _UnusableError as unusable:
        return _rejection(unusable.reason, unusable.detail)
    except MemoryError:
        return _rejection(Reason.out_of_memory, f"a file of {len(data):,} bytes")
    except Exception as error:  # Pillow promises no list of exceptions, and a bad row must not stop a run
        return _rejection(Reason.corrupt, f"{type(error).__name__}: {error}")


def thumbnail(prepared: PreparedImage, side: int = 160) -> bytes:
    """JPEG bytes of the image with at most `side` pixels (≥ 1) on its longer side; a smaller image keeps its size."""
    image = Image.frombytes("RGB", (prepared.width, prepared.height), prepared.rgb)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


class _UnusableError(Exception):
    """Leaves any step below with a reason; `prepare_image` makes the `Rejection` of it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def _rejection(reason: Reason, detail: str) -> Rejection:
    line = "".join(c if c.isprintable() else "?" for c in " ".join(detail.split()))
    return Rejection(reason, line if len(line) <= 200 else line[:197] + "...")


def _prepare(data: bytes, settings: ImageSettings) -> PreparedImage:
    if not data:
        raise _UnusableError(Reason.empty, "0 bytes")
    if len(data) > settings.max_bytes:
        raise _UnusableError(Reason.too_many_bytes, f"{len(data):,} bytes, at most {settings.max_bytes:,} allowed")
    name = _identify(data)
    format_ = _FORMATS[name]
    survey = format_.survey(data)
    if survey.size:
        _check_pixels(survey.size, settings)
    try:
        image = format_.open(io.BytesIO(data))
    except MemoryError:
        raise
    except Exception as error:
        raise _undecodable(name, survey, error) from error
    _check_pixels(image.size, settings)
    _check_shape(image.size, settings)
    fitted = _fit(image.size, settings.max_pixels)
    stored_size = survey.size or image.size
    decoded_size = _shrink_while_decoding(image, fitted, survey)
    _check_cost(name, image, decoded_size, survey, settings)
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        raise _undecodable(name, survey, error) from error
    orientation = _orientation(image)
    srgb = _to_srgb(_shrink(image, fitted), image.info.get("icc_profile"))
    upright = _on_white(srgb)
    if orientation in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[orientation])
    frames = survey.frames or int(getattr(image, "n_frames", 1))
    return PreparedImage(upright.tobytes(), *upright.size, name, *stored_size, frames)


# ---- limits ---------------------------------------------------------------------------------------------------------

_MAX_PARTS = 400_000
"""Chunks, blocks, segments, strips, tiles or frames that one file may have. Each costs Pillow 100 bytes or more of
Python objects; GIFs of 100 MB, in blocks of 255 bytes, come close to it."""

_MAX_SCANS = 100
_MAX_SCANNED_PIXELS = 3_000_000_000
"""Scans of a JPEG, and scans times pixels. Encoders write at most about 20 scans; each one, however short, costs a pass
over all pixels, and 3,000,000,000 pixels take about five seconds (libjpeg-turbo's report LJT-01-004)."""

_BYTES_PER_PIXEL = 8
"""Decoding may use this much memory for each of `max_source_pixels`, 716 MB by default. Most formats need 4 or less."""

_PYTHON_DECODERS = {"bmp_rle", "ppm", "ppm_plain"}
_MAX_PYTHON_PIXELS = 2_000_000
"""Pillow decodes these in Python, at some 2 million pixels per second."""

_MAX_PROFILE_BYTES = 4_000_000
"""Larger ICC profiles are ignored; those of printing presses have up to 3 MB."""


def _check_pixels(size: tuple[int, int], settings: ImageSettings) -> None:
    if size[0] * size[1] > settings.max_source_pixels:
        detail = f"{size[0]}x{size[1]} is {size[0] * size[1]:,} pixels, at most {settings.max_source_pixels:,} allowed"
        raise _UnusableError(Reason.too_many_pixels, detail)


def _check_shape(size: tuple[int, int], settings: ImageSettings) -> None:
    short, long = sorted(size)
    if short < settings.min_side:
        raise _UnusableError(Reason.too_small, f"{size[0]}x{size[1]}, at least {settings.min_side} a side needed")
    if long > settings.max_aspect * short:
        detail = f"{size[0]}x{size[1]} is 1:{long / short:.1f}, at most 1:{settings.max_aspect:g} allowed"
        raise _UnusableError(Reason.too_elongated, detail)


def _check_cost(
    name: str, image: ImageFile.ImageFile, size: tuple[int, int], survey: "_Survey", settings: ImageSettings
) -> None:
    """`size` is (width, height) as it will be decoded, after any shrinking while decoding."""
    pixels = size[0] * size[1]
    cost = int(pixels * survey.bytes_per_pixel) + survey.fixed_bytes
    limit = _BYTES_PER_PIXEL * settings.max_source_pixels
    if cost > limit:
        detail = f"decoding this {name} needs {cost // 10**6:,} MB, at most {limit // 10**6:,} MB allowed"
        raise _UnusableError(Reason.too_many_pixels, detail)
    if survey.scans > _MAX_SCANS or survey.scans * math.prod(survey.size or size) > _MAX_SCANNED_PIXELS:
        raise _UnusableError(Reason.too_complex, f"{name} with {survey.scans} scans")
    codec = image.tile[0][0] if image.tile else ""
    if codec in _PYTHON_DECODERS and pixels > _MAX_PYTHON_PIXELS:
        detail = f"{name} of kind {codec} is slow to decode, at most {_MAX_PYTHON_PIXELS:,} pixels allowed"
        raise _UnusableError(Reason.too_complex, detail)


# ---- identify -------------------------------------------------------------------------------------------------------

_FOREIGN: tuple[tuple[int, bytes, str, Reason], ...] = (
    # What is recognised only to tell the user what it is: offset, magic number, name, reason.
    (0, b"\0\0\0\x0cJXL ", "JPEG XL", Reason.unsupported_format),
    (0, b"\xff\x0a", "JPEG XL", Reason.unsupported_format),
    (0, b"8BPS", "Photoshop document", Reason.unsupported_format),
    (0, b"%!PS", "PostScript", Reason.unsupported_format),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript", Reason.unsupported_format),
    (0, b"%PDF", "PDF", Reason.unsupported_format),
    (0, b"\0\0\1\0", "Windows icon", Reason.unsupported_format),
    (0, b"\0\0\2\0", "Windows cursor", Reason.unsupported_format),
    (0, b"icns", "macOS icon", Reason.unsupported_format),
    (0, b"DDS ", "DirectDraw surface", Reason.unsupported_format),
    (0, b"v/1\x01", "OpenEXR", Reason.unsupported_format),
    (0, b"#?RADIANCE", "Radiance HDR", Reason.unsupported_format),
    (0, b"qoif", "QOI", Reason.unsupported_format),
    (0, b"gimp xcf", "GIMP document", Reason.unsupported_format),
    (0, b"AT&TFORM", "DjVu", Reason.unsupported_format),
    (0, b"SIMPLE  =", "FITS", Reason.unsupported_format),
    (0, b"II\xbc\x01", "JPEG XR", Reason.unsupported_format),
    (0, b"\x8aMNG", "MNG", Reason.unsupported_format),
    (0, b"\xd7\xcd\xc6\x9a", "Windows metafile", Reason.unsupported_format),
    (40, b" EMF", "Windows metafile", Reason.unsupported_format),
    (128, b"DICM", "DICOM", Reason.unsupported_format),
    (4, b"ftypcrx ", "camera raw", Reason.unsupported_format),
    (4, b"ftyphe", "HEIC", Reason.unsupported_format),
    (4, b"ftypmif1", "HEIF", Reason.unsupported_format),
    (4, b"ftypmsf1", "HEIF", Reason.unsupported_format),
    (4, b"ftyp", "MP4 or QuickTime video", Reason.not_an_image),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM video", Reason.not_an_image),
    (0, b"RIFF", "RIFF audio or video", Reason.not_an_image),
    (0, b"PK\x03\x04", "ZIP archive", Reason.not_an_image),
    (0, b"\x1f\x8b", "gzip archive", Reason.not_an_image),
    (0, b"\x7fELF", "program", Reason.not_an_image),
    (0, b"MZ", "program", Reason.not_an_image),
)

_NETPBM = re.compile(rb"P[1-6]\s(?:\s|#[^\n]*\n)*\d+\s")
_MARKUP = re.compile(rb"<(svg|!doctype svg|!doctype html|html|head|body)[\s>]", re.IGNORECASE)


def _identify(data: bytes) -> str:
    head = data[:4096]
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"  # MPO too: a JPEG with more JPEGs behind it
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp" and re.search(rb"avi[fs]", head[8 : min(int.from_bytes(head[:4]), 256)]):
        return "AVIF"
    if head.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")):
        return "JPEG2000"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in (12, 40, 52, 56, 64, 108, 124):
        return "BMP"
    if _NETPBM.match(head):
        return "PPM"
    for offset, magic, name, reason in _FOREIGN:
        if head.startswith(magic, offset):
            raise _UnusableError(reason, name)
    if not _is_text(head):
        raise _UnusableError(Reason.not_an_image, f"unknown content, starts with 0x{head[:8].hex()}")
    markup = _MARKUP.search(head) if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") else None
    if markup and b"svg" in markup[1].lower():
        raise _UnusableError(Reason.unsupported_format, "SVG, a drawing without pixels: render it first")
    raise _UnusableError(Reason.not_an_image, "a web page, often the error page of a server" if markup else "text")


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # the last character may be cut
            return False
        text = head[: error.start].decode()
    return all(c.isprintable() or c.isspace() for c in text)


# ---- survey ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Survey:
    """What the structure of a file tells without decoding it.

    `whole`: the file reaches its own end. `frames`: None where Pillow reads the count from the header. `size`: declared
    (width, height), where Pillow would allocate on opening or tell another size than the stored one. `bytes_per_pixel`:
    the decoder's peak memory for each pixel it decodes, measured; `fixed_bytes`: memory besides, which does not shrink
    when the image is shrunk while decoding. `halvings`: how often a JPEG 2000 can be halved while decoding.
    `scans`: of a JPEG, each over all of `size`.
    """

    whole: bool
    frames: int | None = 1
    size: tuple[int, int] | None = None
    bytes_per_pixel: float = 4.0
    fixed_bytes: int = 0
    halvings: int = 0
    scans: int = 1


def _count_part(parts: int) -> int:
    if parts >= _MAX_PARTS:
        raise _UnusableError(Reason.too_complex, f"more than {_MAX_PARTS:,} parts")
    return parts + 1


_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}


def _survey_jpeg(data: bytes) -> _Survey:
    whole, buffered = False, False
    parts = scans = width = height = components = coefficients = 0
    position = 2
    while (found := _JPEG_MARKER.search(data, position)) is not None:
        parts = _count_part(parts)
        marker = data[found.start() + 1]
        if marker == 0xD9:
            whole = True
            break
        body = data[found.end() : found.end() + 20]
        if marker in _JPEG_FRAMES and len(body) >= 8:
            buffered |= marker in _JPEG_PROGRESSIVE
            width, height = int.from_bytes(body[5:7]), int.from_bytes(body[3:5])
            components = body[7]
            areas = [(sampling >> 4) * (sampling & 15) for sampling in body[9 : 8 + 3 * components : 3]]
            coefficients = sum(width * height * area // max(1, *areas) for area in areas)
        elif marker == 0xDA:
            scans += 1
            buffered |= scans > 1 or body[2:3] != bytes([components])
        position = found.end() + int.from_bytes(body[:2])
    # Progressive images keep all coefficients, two bytes each, whatever size is wanted.
    return _Survey(whole, size=(width, height), fixed_bytes=2 * coefficients if buffered else 0, scans=scans)


def _survey_png(data: bytes) -> _Survey:
    whole, frames, parts, position = False, 1, 0, 8
    while position + 8 <= len(data) and not whole:
        parts = _count_part(parts)
        chunk = data[position + 4 : position + 8]
        whole = chunk == b"IEND"
        if chunk == b"acTL":
            frames = min(max(1, int.from_bytes(data[position + 8 : position + 12])), _MAX_PARTS)
        position += 12 + int.from_bytes(data[position : position + 4])
    return _Survey(whole, frames)


def _survey_gif(data: bytes) -> _Survey:
    width, height = struct.unpack("<HH", data[6:10].ljust(4, b"\0"))
    frames, parts, position = 0, 0, 13 + _palette_bytes(data[10:11])
    while position < len(data):
        kind = data[position]
        if kind == 0x3B:
            return _Survey(True, max(1, frames), (width, height), bytes_per_pixel=2.0)
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
    return _Survey(False, max(1, frames), (width, height), bytes_per_pixel=2.0)


def _palette_bytes(flags: bytes) -> int:
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _survey_webp(data: bytes) -> _Survey:
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
    return _Survey(whole, None, size, bytes_per_pixel=19.0)


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


def _survey_avif(data: bytes) -> _Survey:
    """Not covered: a file whose pixels are larger than it declares. The decoder takes up to 16384x16384 of them."""
    media = [end <= len(data) for kind, _, end in _boxes(data) if kind == b"mdat"]
    return _Survey(bool(media) and all(media), None, bytes_per_pixel=18.0)


def _survey_bmp(data: bytes) -> _Survey:
    return _Survey(int.from_bytes(data[2:6], "little") <= len(data), bytes_per_pixel=6.0)


def _survey_ppm(data: bytes) -> _Survey:
    return _Survey(True, bytes_per_pixel=6.0)


def _survey_jpeg2000(data: bytes) -> _Survey:
    """Code blocks, precincts and tiles cost OpenJPEG hundreds of bytes each, and a tiny file can declare millions."""
    boxed = not data.startswith(b"\xff\x4f")
    start = next((begin for kind, begin, _ in _boxes(data) if kind == b"jp2c"), len(data)) if boxed else 0
    if start + 42 > len(data):
        return _Survey(False)
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
    return _Survey(
        whole,
        size=(width, height),
        bytes_per_pixel=4.0 + (6.0 * components + 4.0) * tile_width * tile_height / max(1, width * height),
        fixed_bytes=int(500 * blocks_per_pixel * tile_width * tile_height) + 10_000 * tiles,
        halvings=halvings if halvings < 32 else 0,
    )


_TIFF_TYPE_BYTES = dict(zip((*range(1, 14), 16, 17, 18), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 8, 8, 8), strict=True))
_TIFF_BYTE_TYPES = {1, 2, 7}


def _survey_tiff(data: bytes) -> _Survey:
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    big = data[2] == 43

    def number(at: int, length: int) -> int:
        return int.from_bytes(data[at : at + length], order)

    offset_bytes, count_bytes, entry_bytes = (8, 8, 20) if big else (4, 2, 12)
    page = number(8 if big else 4, offset_bytes)
    whole = page + count_bytes <= len(data)
    pages: set[int] = set()
    tags: dict[int, tuple[int, int, int]] = {}  # of the first page: values, first value, last value
    while page and page + count_bytes <= len(data) and page not in pages:
        _count_part(len(pages))
        entries = min(number(page, count_bytes), len(data) // entry_bytes)
        at = page + count_bytes
        for entry in range(at, at + entries * entry_bytes, entry_bytes) if not pages else ():
            kind, count = number(entry + 2, 2), number(entry + 4, offset_bytes)
            if kind not in _TIFF_TYPE_BYTES:
                continue
            unit = _TIFF_TYPE_BYTES[kind]
            if kind not in _TIFF_BYTE_TYPES and count > _MAX_PARTS:
                raise _UnusableError(Reason.too_complex, f"TIFF tag {number(entry, 2)} declares {count:,} values")
            if number(entry, 2) in tags:  # Pillow takes the last, libtiff the first
                raise _UnusableError(Reason.corrupt, f"TIFF tag {number(entry, 2)} comes twice")
            first = entry + 4 + offset_bytes
            if unit * count > offset_bytes:
                first = number(first, offset_bytes)
                whole &= first + unit * count <= len(data)
            tags[number(entry, 2)] = count, number(first, unit), number(first + (count - 1) * unit, unit)
        whole &= bool(pages) or at + entries * entry_bytes <= len(data)
        pages.add(page)
        page = number(at + entries * entry_bytes, offset_bytes)

    def tag(number: int, default: int) -> int:
        return tags.get(number, (1, default, default))[1]

    if 50706 in tags or (tag(254, 0) & 1 and 330 in tags):
        raise _UnusableError(Reason.unsupported_format, "camera raw: its first page is only a thumbnail")
    for offsets, lengths in ((273, 279), (324, 325)):
        if offsets in tags and lengths in tags:
            whole &= tags[offsets][2] + tags[lengths][2] <= len(data)
    width, height = tag(256, 0), tag(257, 0)
    piece = tag(322, 0) * tag(323, 0) or width * min(tag(278, height), height)
    upright_bytes = 4 if tag(274, 1) != 1 else 0  # Pillow turns TIFFs while loading them
    lab_bytes = 8 if tag(262, 0) == 8 else 0
    return _Survey(
        whole,
        max(1, len(pages)),
        (width, height),
        bytes_per_pixel=4.0 + upright_bytes + lab_bytes,
        fixed_bytes=piece * max(tag(277, 1) * tag(258, 8) // 8, 4 if tag(262, 0) == 6 else 1),
    )


# ---- decode ---------------------------------------------------------------------------------------------------------


class _Lab16TiffFile(TiffImagePlugin.TiffImageFile):
    """CIELAB with 16 bits per sample, which Pillow does not know: read as 16-bit RGB, of which Pillow keeps the upper
    bytes, and relabelled. a* and b* are signed in the file (TIFF 6.0, section 23) and offset by 128 in Pillow."""

    def _setup(self) -> None:
        if self.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) != 8:
            raise SyntaxError("unknown pixel mode")
        self.tag_v2[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 2
        super()._setup()

    def load_end(self) -> None:
        super().load_end()
        lightness, *signed = self.split()
        lab = Image.merge("LAB", (lightness, *(band.point([value ^ 128 for value in range(256)]) for band in signed)))
        self.im = lab.im
        self._mode = "LAB"


def _open_tiff(stream: io.BytesIO) -> ImageFile.ImageFile:
    try:
        return TiffImagePlugin.TiffImageFile(stream)
    except SyntaxError as error:
        if "unknown pixel mode" not in str(error):
            raise
        stream.seek(0)
        return _Lab16TiffFile(stream)


@dataclass(frozen=True, slots=True)
class _Format:
    """How one format is surveyed and opened. `Image.open` would hide why a file could not be opened."""

    survey: Callable[[bytes], _Survey]
    open: Callable[[io.BytesIO], ImageFile.ImageFile]


_FORMATS: Mapping[str, _Format] = {
    "AVIF": _Format(_survey_avif, AvifImagePlugin.AvifImageFile),
    "BMP": _Format(_survey_bmp, BmpImagePlugin.BmpImageFile),
    "GIF": _Format(_survey_gif, GifImagePlugin.GifImageFile),
    "JPEG": _Format(_survey_jpeg, JpegImagePlugin.JpegImageFile),
    "JPEG2000": _Format(_survey_jpeg2000, Jpeg2KImagePlugin.Jpeg2KImageFile),
    "PNG": _Format(_survey_png, PngImagePlugin.PngImageFile),
    "PPM": _Format(_survey_ppm, PpmImagePlugin.PpmImageFile),
    "TIFF": _Format(_survey_tiff, _open_tiff),
    "WEBP": _Format(_survey_webp, WebPImagePlugin.WebPImageFile),
}

_UNSUPPORTED_WORDS = re.compile(
    "unknown pixel mode|cannot handle|unsupported|not supported|not installed|unable to determine|samples per pixel",
    re.IGNORECASE,
)


def _undecodable(name: str, survey: _Survey, error: Exception) -> _UnusableError:
    message = str(error) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return _UnusableError(Reason.too_many_pixels, message)
    if "too large" in message or "Too much memory" in message:  # texts and profiles in a PNG
        return _UnusableError(Reason.too_complex, f"{name}: {message}")
    if not survey.whole or "truncated" in message or "not enough image data" in message:
        return _UnusableError(Reason.truncated, f"{name}: {message}")
    if _UNSUPPORTED_WORDS.search(message) or isinstance(error.__cause__, KeyError):
        return _UnusableError(Reason.unsupported_format, f"{name}: {message}")
    return _UnusableError(Reason.corrupt, f"{name}: {message}")


def _shrink_while_decoding(image: ImageFile.ImageFile, fitted: tuple[int, int], survey: _Survey) -> tuple[int, int]:
    """Ask the decoder for fewer pixels where it can; returns the (width, height) it will give."""
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        image.draft(None, (math.ceil(fitted[0] * _DRAFT_GAP), math.ceil(fitted[1] * _DRAFT_GAP)))
    elif isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile):
        for halvings in range(survey.halvings, 0, -1):
            power = 1 << halvings
            enough = min(image.width / fitted[0], image.height / fitted[1]) >= power * _DRAFT_GAP
            # Pillow rounds the reduced size, the format rounds it up: only where both agree.
            if enough and all(side % power == 0 or side % power >= power / 2 for side in image.size):
                image.reduce = halvings
                return math.ceil(image.width / power), math.ceil(image.height / power)
    return image.size


# ---- shrink ---------------------------------------------------------------------------------------------------------

_DRAFT_GAP = 1.5
_REDUCE_GAP = 2.0
"""How many times larger than wanted each side must stay after a fast, coarse step before the careful one: after the
decoder's own shrinking, and after block averages (Pillow calls this `reducing_gap` and advises 2). On 55 photographs
shrunk to 60,000 pixels, decoder gaps of 1, 1.5 and 2 gave at least 29, 36 and 36 dB against the careful way alone, at
4.9, 9.1 and 10.1 ms each; at a million pixels, a photograph of 12 megapixels takes four times as long with 2 as with
1.5."""

_STRIP_PIXELS = 1_000_000


def _fit(size: tuple[int, int], max_pixels: int) -> tuple[int, int]:
    width, height = size
    if width * height <= max_pixels:
        return size
    # Each side is the largest integer not above side * sqrt(max_pixels / (width * height)).
    fitted_width = max(1, math.isqrt(max_pixels * width // height))
    fitted_height = max(1, math.isqrt(max_pixels * height // width))
    return min(fitted_width, max_pixels), min(fitted_height, max_pixels)


def _shrink(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """To `size` and to one of the modes L, LA, RGB, RGBA, CMYK or LAB, all of 8 bits per sample."""
    width, height = image.size
    factor = max(1, int(min(width / size[0], height / size[1]) / _REDUCE_GAP))
    rows = max(1, _STRIP_PIXELS // (width * factor)) * factor
    black_white = _black_and_white(image, rows)
    strips = (_strip(image, top, rows, factor, black_white) for top in range(0, height, rows))
    reduced = first = next(strips)
    if rows < height:
        reduced = Image.new(first.mode, (first.width, math.ceil(height / factor)))
        for number, strip in enumerate(chain([first], strips)):
            reduced.paste(strip, (0, number * rows // factor))
    if reduced.size == size:
        return reduced
    return reduced.resize(size, Image.Resampling.LANCZOS, box=(0, 0, width / factor, height / factor))


def _strip(image: Image.Image, top: int, rows: int, factor: int, black_white: tuple[float, float]) -> Image.Image:
    strip = _eight_bit(image.crop((0, top, image.width, min(top + rows, image.height))), black_white)
    return strip.reduce(factor) if factor > 1 else strip


def _black_and_white(image: Image.Image, rows: int) -> tuple[float, float]:
    """The values of `image` that become 0 and 255; of use for modes of more than 8 bits only."""
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16"):
        low, high = 0.0, float(2 ** min(16, tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]) - 1)
    elif image.mode == "I" and image.format in ("PNG", "PPM"):
        low, high = 0.0, 65535.0
    elif image.mode in ("I", "F"):
        low, high = math.inf, -math.inf
        for top in range(0, image.height, rows):
            values = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
            values = values[np.isfinite(values)]
            if values.size:
                low, high = min(low, float(values.min())), max(high, float(values.max()))
        if image.mode == "F" and 0 <= low <= high <= 255:
            low, high = 0.0, 1.0 if high <= 1 else 255.0  # float images are usually saved with one of these two ranges
    else:
        return 0.0, 255.0
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero; Pillow inverts 8 bits only
        return high, low
    return low, high


_EIGHT_BIT_MODE = {"1": "L", "La": "LA", "RGBa": "RGBA", "PA": "RGBA", "P": "RGB", "RGBX": "RGB", "YCbCr": "RGB"}


def _eight_bit(strip: Image.Image, black_white: tuple[float, float]) -> Image.Image:
    transparency = strip.info.get("transparency")
    if strip.mode.startswith("I") or strip.mode == "F":
        values = np.asarray(strip)
        black, white = black_white
        scaled = (values.astype(np.float64) - black) / (white - black) * 255 if white != black else values * 0.0
        grey = Image.fromarray(np.clip(np.nan_to_num(scaled) + 0.5, 0, 255).astype(np.uint8))
        if isinstance(transparency, int):
            alpha = Image.fromarray(np.where(values == transparency, 0, 255).astype(np.uint8))
            return Image.merge("LA", (grey, alpha))
        return grey
    if strip.mode == "RGB" and isinstance(transparency, tuple) and max(transparency) > 255:
        # The transparent colour of a 16-bit PNG, of which Pillow keeps the upper bytes.
        strip.info["transparency"] = tuple(value >> 8 for value in transparency)
    if strip.mode not in ("LA", "RGBA", "CMYK", "LAB") and strip.has_transparency_data:
        return strip.convert("LA" if strip.mode in ("L", "La") else "RGBA")
    mode = _EIGHT_BIT_MODE.get(strip.mode, strip.mode)
    return strip if strip.mode == mode else strip.convert(mode)


# ---- convert --------------------------------------------------------------------------------------------------------

_PROFILE_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
_PROFILE_CLASSES = {"scnr", "mntr", "prtr", "spac"}
_SRGB = ImageCms.createProfile("sRGB")


def _to_srgb(image: Image.Image, icc_profile: object) -> Image.Image:
    """RGB or RGBA in sRGB, of an image in one of the modes that `_shrink` gives."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image.convert({"LA": "L", "RGBA": "RGB"}[image.mode]) if alpha is not None else image
    if colours.mode == "LAB":
        lab_to_srgb = ImageCms.buildTransform(ImageCms.createProfile("LAB"), _SRGB, "LAB", "RGB")
        srgb = lab_to_srgb.apply(colours)
    else:
        srgb = _apply_profile(colours, icc_profile).convert("RGB")
    if alpha is not None:
        srgb.putalpha(alpha)
    return srgb


def _apply_profile(colours: Image.Image, icc_profile: object) -> Image.Image:
    """The same image where the profile cannot be used: going without beats losing the image."""
    if not isinstance(icc_profile, bytes) or len(icc_profile) > _MAX_PROFILE_BYTES:
        return colours
    mode, transform = _profile_transform(icc_profile)
    if mode == "RGB" and colours.mode == "L":
        colours = colours.convert("RGB")
    elif mode == "L" and colours.mode == "RGB":  # 16-bit grey with alpha, which Pillow opens as colour
        red, green, blue = colours.split()
        if red.tobytes() == green.tobytes() == blue.tobytes():
            colours = red
    if transform is None or colours.mode != mode:
        return colours
    return transform.apply(colours)


@lru_cache(maxsize=16)
def _profile_transform(icc_profile: bytes) -> tuple[str | None, ImageCms.ImageCmsTransform | None]:
    """The mode a profile is for, and its transform to sRGB; no transform where it is broken or changes nothing.

    Kept, because building one takes milliseconds and images of one source share few profiles. Most of these are sRGB
    itself under one of many names: applying such a one would cost more than decoding.
    """
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        mode = _PROFILE_MODES.get(profile.profile.xcolor_space.strip())
        if mode is None or profile.profile.device_class not in _PROFILE_CLASSES:
            return None, None
        transform = ImageCms.buildTransform(profile, _SRGB, mode, "RGB", ImageCms.Intent.PERCEPTUAL)
        if mode == "RGB":
            steps = np.stack(np.meshgrid(*[np.arange(0, 256, 17, dtype=np.uint8)] * 3), axis=-1).reshape(64, 64, 3)
            probe = transform.apply(Image.fromarray(steps))
            if np.abs(np.asarray(probe, dtype=np.int16) - steps).max() <= 2:
                return mode, None
        return mode, transform
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError, AttributeError):
        return None, None


def _on_white(srgb: Image.Image) -> Image.Image:
    if srgb.mode == "RGB":
        return srgb
    white = Image.new("RGB", srgb.size, "white")
    white.paste(srgb, mask=srgb.getchannel("A"))
    return white


_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what turns the stored image upright (Exif 2.32, tag 0x0112; 1 is upright)."""


def _orientation(image: ImageFile.ImageFile) -> int:
    """Asked after loading: PNG may carry it behind the pixels, and Pillow has turned a TIFF by then."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, EOFError, struct.error):
        return 1  # broken camera data says nothing about the pixels
    return orientation if isinstance(orientation, int) else 1
