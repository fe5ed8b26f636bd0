"""Makers of image files, plain and awkward, for tests. All are a few kilobytes and made from nothing."""

import io
import struct
import zlib
from collections.abc import Sequence

from PIL import Image

Colour = tuple[int, int, int]

RED: Colour = (220, 40, 30)
GREEN: Colour = (30, 160, 60)
BLUE: Colour = (40, 60, 200)
GREY: Colour = (128, 128, 128)
WHITE: Colour = (255, 255, 255)

CORNERS = {(0.25, 0.25): RED, (0.75, 0.25): GREEN, (0.25, 0.75): BLUE, (0.75, 0.75): GREY}
"""The colours of `picture` at these places, as shares of width and height from the top left."""


def picture(width: int = 48, height: int = 32) -> Image.Image:
    """Four quarters of different colours, wider than high, so that every turn and mirroring shows."""
    image = Image.new("RGB", (width, height))
    for (x, y), colour in CORNERS.items():
        left, top = int(x * 2) * width // 2, int(y * 2) * height // 2
        image.paste(colour, (left, top, left + width - width // 2, top + height - height // 2))
    return image


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def oriented(orientation: int, format_: str) -> bytes:
    """`picture` stored turned or mirrored, with the EXIF orientation that undoes it."""
    stored_by = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = picture() if orientation == 1 else picture().transpose(stored_by[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(format_, {})
    return encoded(image, format_, exif=exif, **options)


def samples() -> dict[str, bytes]:
    """`picture` in every format and variant that is read, by name."""
    image = picture()
    palette = image.quantize(16)
    return {
        "AVIF": encoded(image, "AVIF", quality=90),
        "BMP": encoded(image, "BMP"),
        "BMP palette": encoded(palette, "BMP"),
        "GIF": encoded(image, "GIF"),
        "JPEG": encoded(image, "JPEG", quality=95),
        "JPEG progressive": encoded(image, "JPEG", quality=95, progressive=True),
        "JPEG CMYK": encoded(image.convert("CMYK"), "JPEG", quality=95),
        "JPEG CMYK progressive": encoded(image.convert("CMYK"), "JPEG", quality=95, progressive=True),
        "JPEG2000 file": encoded(image, "JPEG2000"),
        "JPEG2000 codestream": encoded(image, "JPEG2000", no_jp2=True),
        "JPEG2000 tiles": encoded(image, "JPEG2000", tile_size=(16, 16)),
        "PNG": encoded(image, "PNG"),
        "PNG palette": encoded(palette, "PNG"),
        "PNG alpha": encoded(image.convert("RGBA"), "PNG"),
        "PNG 16-bit": png(48, 32, 16, 2, [b"".join(bytes([v, v]) for v in row) for row in rows_of(image)]),
        "PPM": encoded(image, "PPM"),
        "PPM text": b"P3\n# made by hand\n48 32\n255\n" + b" ".join(b"%d" % value for value in image.tobytes()) + b"\n",
        "TIFF": encoded(image, "TIFF"),
        "TIFF LZW": encoded(image, "TIFF", compression="tiff_lzw"),
        "TIFF deflate": encoded(image, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF JPEG": encoded(image, "TIFF", compression="jpeg", quality=95),
        "TIFF CMYK": encoded(image.convert("CMYK"), "TIFF"),
        "TIFF YCbCr": encoded(image.convert("YCbCr"), "TIFF"),
        "TIFF alpha": encoded(image.convert("RGBA"), "TIFF"),
        "TIFF palette": encoded(palette, "TIFF"),
        "WEBP": encoded(image, "WEBP", quality=95),
        "WEBP lossless": encoded(image, "WEBP", lossless=True),
        "WEBP alpha": encoded(image.convert("RGBA"), "WEBP", lossless=True),
    }


def rows_of(image: Image.Image) -> list[bytes]:
    pixels, stride = image.tobytes(), image.width * len(image.getbands())
    return [pixels[start : start + stride] for start in range(0, len(pixels), stride)]


# ---- PNG, by hand: for depths that Pillow does not write, and for headers that lie --------------------------------


def png_chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour_type: int, rows: Sequence[bytes], *chunks: bytes) -> bytes:
    """`rows` are stored unfiltered, `chunks` between header and pixels. Fewer rows than declared make a short file."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", pixels), png_chunk(b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """Less than 100 bytes that declare 3.6 thousand million pixels."""
    return png(width, height, 8, 2, [])


def png_icc_chunk(profile: bytes) -> bytes:
    return png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(profile))


# ---- TIFF, by hand -------------------------------------------------------------------------------------------------

TIFF_SHORT, TIFF_LONG = 3, 4


def tiff(width: int, height: int, pixels: bytes, tags: dict[int, int | tuple[int, ...]], *, last: bytes = b"") -> bytes:
    """One uncompressed strip, little-endian. `tags` replace or add to the baseline; `last` follows the directory."""
    baseline: dict[int, int | tuple[int, ...]] = {
        256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(pixels),
    }  # fmt: skip
    entries, extra = b"", b""
    directory = 8 + len(pixels) + len(pixels) % 2
    merged = sorted((baseline | tags).items())
    after = directory + 2 + 12 * len(merged) + 4
    for tag, value in merged:
        values = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", after + len(extra)), extra + packed
        entries += struct.pack("<HHI", tag, TIFF_LONG, len(values)) + packed
    head = b"II*\0" + struct.pack("<I", directory) + pixels + b"\0" * (len(pixels) % 2)
    return head + struct.pack("<H", len(merged)) + entries + struct.pack("<I", 0) + extra + last


# ---- others --------------------------------------------------------------------------------------------------------


def bmp(width: int, height: int, compression: int, pixels: bytes, *, bits: int = 8) -> bytes:
    palette = b"".join(bytes([255 - i, i, i, 0]) for i in range(256)) if bits == 8 else b""
    offset = 54 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + header + palette + pixels


def webp_bomb(width: int = 12_000, height: int = 12_000) -> bytes:
    """A header alone: an extended WebP whose canvas is large."""
    body = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBPVP8X" + struct.pack("<I", len(body)) + body


def gif_bomb() -> bytes:
    """A small screen with a frame of 60000x60000 on it."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02D\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0, 0, 0) + b"!\xf9\x04\x09\0\0\0\0" + frame + b";"


def jpeg_declaring(width: int, height: int, *, scans: int = 1) -> bytes:
    """A small JPEG whose frame header declares another size; progressive if it has several scans."""
    data = bytearray(jpeg_with_scans(scans) if scans > 1 else encoded(picture(), "JPEG"))
    frame = data.index(b"\xff\xc2" if scans > 1 else b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until it has `count` of them, at least 10."""
    data = encoded(picture(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (count - data.count(b"\xff\xda")) + data[-2:]


def jpeg2000_declaring(width: int, height: int) -> bytes:
    """A small codestream that declares another size for image and tile."""
    data = bytearray(encoded(picture(), "JPEG2000", no_jp2=True))
    data[8:16] = data[24:32] = struct.pack(">II", width, height)
    return bytes(data)


def icc_profile(space: bytes, lab: tuple[int, int, int]) -> bytes:
    """An ICC profile of the colour space `space` (`b"RGB "`, `b"GRAY"`, `b"CMYK"`) in which all colours but black and white
    are the one with these CIELAB values, L in [0, 100], a and b in [-128, 127]. (Colour engines adapt to other blacks
    and whites.)"""
    inputs = {b"GRAY": 1, b"RGB ": 3, b"CMYK": 4}[space]
    colour, black, white = bytes([round(lab[0] * 2.55), lab[1] + 128, lab[2] + 128]), b"\0\x80\x80", b"\xff\x80\x80"
    nodes = [black, *[colour] * (3**inputs - 2), white]
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes([inputs, 3, 3, 0]) + matrix + ramp * inputs
    table += b"".join(reversed(nodes) if space == b"CMYK" else nodes) + ramp * 3
    tags = struct.pack(">I4sII", 1, b"A2B0", 144, len(table))
    header = struct.pack(">I4sI4s4s4s", 144 + len(table), bytes(4), 0x02400000, b"prtr", space, b"Lab ")
    header += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp")
    header = header.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + tags + table


SVG = b'<?xml version="1.0"?>\n<!-- a sign -->\n<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0h9v9z"/></svg>\n'
JAVASCRIPT = "// Größe\nconst sharp = require('sharp');\nmodule.exports = () => '<svg></svg>';\n".encode()
HTML = b"\n<!DOCTYPE html><html><head><title>404</title></head><body><svg></svg></body></html>"
