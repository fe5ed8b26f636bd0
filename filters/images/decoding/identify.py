"""The format of an image file, told by its content and never by its name."""

from __future__ import annotations

import re
from typing import Final

from filters.images.decoding.problems import Problem, UndecodableImage

_HEIF_BRANDS: Final = {
    b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1",
}  # fmt: skip

_FOREIGN: Final[tuple[tuple[int, bytes, str, Problem], ...]] = (
    # What is recognised only to tell the user what it is: offset, magic number, name, problem.
    (0, b"\0\0\0\x0cJXL ", "JPEG XL", Problem.unsupported_format),
    (0, b"\xff\x0a", "JPEG XL", Problem.unsupported_format),
    (0, b"8BPS", "Photoshop document", Problem.unsupported_format),
    (0, b"%!PS", "PostScript", Problem.unsupported_format),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript", Problem.unsupported_format),
    (0, b"%PDF", "PDF", Problem.unsupported_format),
    (0, b"icns", "macOS icon", Problem.unsupported_format),
    (0, b"DDS ", "DirectDraw surface", Problem.unsupported_format),
    (0, b"v/1\x01", "OpenEXR", Problem.unsupported_format),
    (0, b"#?RADIANCE", "Radiance HDR", Problem.unsupported_format),
    (0, b"qoif", "QOI", Problem.unsupported_format),
    (0, b"gimp xcf", "GIMP document", Problem.unsupported_format),
    (0, b"AT&TFORM", "DjVu", Problem.unsupported_format),
    (0, b"SIMPLE  =", "FITS", Problem.unsupported_format),
    (0, b"II\xbc\x01", "JPEG XR", Problem.unsupported_format),
    (0, b"\x8aMNG", "MNG", Problem.unsupported_format),
    (0, b"\xd7\xcd\xc6\x9a", "Windows metafile", Problem.unsupported_format),
    (40, b" EMF", "Windows metafile", Problem.unsupported_format),
    (128, b"DICM", "DICOM", Problem.unsupported_format),
    (4, b"ftypcrx ", "camera raw", Problem.unsupported_format),
    (4, b"ftyp", "MP4 or QuickTime video", Problem.not_an_image),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM video", Problem.not_an_image),
    (0, b"RIFF", "RIFF audio or video", Problem.not_an_image),
    (0, b"PK\x03\x04", "ZIP archive", Problem.not_an_image),
    (0, b"\x1f\x8b", "gzip archive", Problem.not_an_image),
    (0, b"\x7fELF", "program", Problem.not_an_image),
    (0, b"MZ", "program", Problem.not_an_image),
)

_NETPBM = re.compile(rb"P[1-6]\s(?:\s|#[^\n]*\n)*\d+\s")
_MARKUP = re.compile(rb"<(svg|!doctype svg|!doctype html|html|head|body)[\s>]", re.IGNORECASE)


def identify(data: bytes) -> str:
    """The name of a format that is read, as Pillow has it; UndecodableImage where the content is anything else."""
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
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "HEIF"
    if head.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")):
        return "JPEG2000"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in (12, 40, 52, 56, 64, 108, 124):
        return "BMP"
    if _NETPBM.match(head):
        return "PPM"
    for offset, magic, name, problem in _FOREIGN:
        if head.startswith(magic, offset):
            raise UndecodableImage(problem, name)
    if _is_icon(data):
        raise UndecodableImage(Problem.unsupported_format, "Windows icon" if head[2] == 1 else "Windows cursor")
    if _is_tga(data):
        raise UndecodableImage(Problem.unsupported_format, "TGA")
    if not _is_text(head):
        raise UndecodableImage(Problem.not_an_image, f"unknown content, starts with 0x{head[:8].hex()}")
    markup = _MARKUP.search(head) if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") else None
    if markup and b"svg" in markup[1].lower():
        raise UndecodableImage(Problem.unsupported_format, "SVG, a drawing without pixels: render it first")
    raise UndecodableImage(Problem.not_an_image, "a web page, often the error page of a server" if markup else "text")


def _is_icon(data: bytes) -> bool:
    """A directory of at least one image, the first of which lies behind it. The magic number alone also begins a TGA."""
    if not data.startswith((b"\0\0\1\0", b"\0\0\2\0")):
        return False
    images, offset = int.from_bytes(data[4:6], "little"), int.from_bytes(data[18:22], "little")
    return images > 0 and data[9:10] == b"\0" and offset >= 6 + 16 * images


_TGA_KINDS: Final = {1: (8, 16), 2: (15, 16, 24, 32), 3: (8, 16), 9: (8, 16), 10: (15, 16, 24, 32), 11: (8, 16)}
"""Image type -> bits per pixel (Truevision TGA File Format Specification 2.0, fields 3 and 5.5)."""


def _is_tga(data: bytes) -> bool:
    """A TGA begins with no magic number; since version 2 it ends with one."""
    if len(data) < 18:
        return False
    with_map, kind = data[1], data[2]
    if with_map > 1 or kind not in _TGA_KINDS:
        return False
    if data.endswith(b"TRUEVISION-XFILE.\0"):
        return True
    colours_are_mapped = kind in (1, 9)
    width, height = int.from_bytes(data[12:14], "little"), int.from_bytes(data[14:16], "little")
    return (
        bool(with_map) == colours_are_mapped
        and (bool(with_map) or data[3:8] == bytes(5))
        and width > 0
        and height > 0
        and data[16] in _TGA_KINDS[kind]
        and not data[17] & 0xC0
    )


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # the last character may be cut
            return False
        text = head[: error.start].decode()
    return all(c.isprintable() or c.isspace() for c in text)
