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
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from factory.images.pixels import DRAFT_GAP, UPRIGHT, fit, on_white, orientation_of, shrink, to_srgb
from factory.images.reasons import Reason, UnusableImageError
from factory.images.survey import (
    Survey,
    survey_avif,
    survey_bmp,
    survey_gif,
    survey_jpeg,
    survey_jpeg2000,
    survey_png,
    survey_ppm,
    survey_tiff,
    survey_webp,
)
from factory.recipe import ImageSettings

# By default every AVIF decoder starts a thread per core, and the factory already runs a worker per core.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
# Pillow warns of broken metadata, of every file anew. What matters of it ends in a reason.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

VERSION = 1
"""Part of the fingerprint of prepared images: raised with every change after which the same bytes give other pixels or
another reason."""


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
    except UnusableImageError as unusable:
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


def _rejection(reason: Reason, detail: str) -> Rejection:
    line = "".join(c if c.isprintable() else "?" for c in " ".join(detail.split()))
    return Rejection(reason, line if len(line) <= 200 else line[:197] + "...")


def _prepare(data: bytes, settings: ImageSettings) -> PreparedImage:
    if not data:
        raise UnusableImageError(Reason.empty, "0 bytes")
    if len(data) > settings.max_bytes:
        raise UnusableImageError(Reason.too_many_bytes, f"{len(data):,} bytes, at most {settings.max_bytes:,} allowed")
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
    fitted = fit(image.size, settings.max_pixels)
    stored_size = survey.size or image.size
    decoded_size = _shrink_while_decoding(image, fitted, survey)
    _check_cost(name, image, decoded_size, survey, settings)
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        raise _undecodable(name, survey, error) from error
    orientation = orientation_of(image)
    srgb = to_srgb(shrink(image, fitted), image.info.get("icc_profile"))
    upright = on_white(srgb)
    if orientation in UPRIGHT:
        upright = upright.transpose(UPRIGHT[orientation])
    frames = survey.frames or int(getattr(image, "n_frames", 1))
    return PreparedImage(upright.tobytes(), *upright.size, name, *stored_size, frames)


# ---- limits ---------------------------------------------------------------------------------------------------------

_MAX_SCANS = 100
_MAX_SCANNED_PIXELS = 3_000_000_000
"""Scans of a JPEG, and scans times pixels. Encoders write at most about 20 scans; each one, however short, costs a pass
over all pixels, and 3,000,000,000 pixels take about five seconds (libjpeg-turbo's report LJT-01-004)."""

_BYTES_PER_PIXEL = 8
"""Decoding may use this much memory for each of `max_source_pixels`, 716 MB by default. Most formats need 4 or less."""

_PYTHON_DECODERS = {"bmp_rle", "ppm", "ppm_plain"}
_MAX_PYTHON_PIXELS = 2_000_000
"""Pillow decodes these in Python, at some 2 million pixels per second."""


def _check_pixels(size: tuple[int, int], settings: ImageSettings) -> None:
    if size[0] * size[1] > settings.max_source_pixels:
        detail = f"{size[0]}x{size[1]} is {size[0] * size[1]:,} pixels, at most {settings.max_source_pixels:,} allowed"
        raise UnusableImageError(Reason.too_many_pixels, detail)


def _check_shape(size: tuple[int, int], settings: ImageSettings) -> None:
    short, long = sorted(size)
    if short < settings.min_side:
        raise UnusableImageError(Reason.too_small, f"{size[0]}x{size[1]}, at least {settings.min_side} a side needed")
    if long > settings.max_aspect * short:
        detail = f"{size[0]}x{size[1]} is 1:{long / short:.1f}, at most 1:{settings.max_aspect:g} allowed"
        raise UnusableImageError(Reason.too_elongated, detail)


def _check_cost(
    name: str, image: ImageFile.ImageFile, size: tuple[int, int], survey: Survey, settings: ImageSettings
) -> None:
    """`size` is (width, height) as it will be decoded, after any shrinking while decoding."""
    pixels = size[0] * size[1]
    cost = int(pixels * survey.bytes_per_pixel) + survey.fixed_bytes
    limit = _BYTES_PER_PIXEL * settings.max_source_pixels
    if cost > limit:
        detail = f"decoding this {name} needs {cost // 10**6:,} MB, at most {limit // 10**6:,} MB allowed"
        raise UnusableImageError(Reason.too_many_pixels, detail)
    if survey.scans > _MAX_SCANS or survey.scans * math.prod(survey.size or size) > _MAX_SCANNED_PIXELS:
        raise UnusableImageError(Reason.too_complex, f"{name} with {survey.scans} scans")
    codec = image.tile[0][0] if image.tile else ""
    if codec in _PYTHON_DECODERS and pixels > _MAX_PYTHON_PIXELS:
        detail = f"{name} of kind {codec} is slow to decode, at most {_MAX_PYTHON_PIXELS:,} pixels allowed"
        raise UnusableImageError(Reason.too_complex, detail)


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
            raise UnusableImageError(reason, name)
    if not _is_text(head):
        raise UnusableImageError(Reason.not_an_image, f"unknown content, starts with 0x{head[:8].hex()}")
    markup = _MARKUP.search(head) if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") else None
    if markup and b"svg" in markup[1].lower():
        raise UnusableImageError(Reason.unsupported_format, "SVG, a drawing without pixels: render it first")
    raise UnusableImageError(Reason.not_an_image, "a web page, often the error page of a server" if markup else "text")


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # the last character may be cut
            return False
        text = head[: error.start].decode()
    return all(c.isprintable() or c.isspace() for c in text)


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

    survey: Callable[[bytes], Survey]
    open: Callable[[io.BytesIO], ImageFile.ImageFile]


_FORMATS: Mapping[str, _Format] = {
    "AVIF": _Format(survey_avif, AvifImagePlugin.AvifImageFile),
    "BMP": _Format(survey_bmp, BmpImagePlugin.BmpImageFile),
    "GIF": _Format(survey_gif, GifImagePlugin.GifImageFile),
    "JPEG": _Format(survey_jpeg, JpegImagePlugin.JpegImageFile),
    "JPEG2000": _Format(survey_jpeg2000, Jpeg2KImagePlugin.Jpeg2KImageFile),
    "PNG": _Format(survey_png, PngImagePlugin.PngImageFile),
    "PPM": _Format(survey_ppm, PpmImagePlugin.PpmImageFile),
    "TIFF": _Format(survey_tiff, _open_tiff),
    "WEBP": _Format(survey_webp, WebPImagePlugin.WebPImageFile),
}

_UNSUPPORTED_WORDS = re.compile(
    "unknown pixel mode|cannot handle|unsupported|not supported|not installed|unable to determine|samples per pixel",
    re.IGNORECASE,
)


def _undecodable(name: str, survey: Survey, error: Exception) -> UnusableImageError:
    message = str(error) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return UnusableImageError(Reason.too_many_pixels, message)
    if "too large" in message or "Too much memory" in message:  # texts and profiles in a PNG
        return UnusableImageError(Reason.too_complex, f"{name}: {message}")
    if not survey.whole or "truncated" in message or "not enough image data" in message:
        return UnusableImageError(Reason.truncated, f"{name}: {message}")
    if _UNSUPPORTED_WORDS.search(message) or isinstance(error.__cause__, KeyError):
        return UnusableImageError(Reason.unsupported_format, f"{name}: {message}")
    return UnusableImageError(Reason.corrupt, f"{name}: {message}")


def _shrink_while_decoding(image: ImageFile.ImageFile, fitted: tuple[int, int], survey: Survey) -> tuple[int, int]:
    """Ask the decoder for fewer pixels where it can; returns the (width, height) it will give."""
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        image.draft(None, (math.ceil(fitted[0] * DRAFT_GAP), math.ceil(fitted[1] * DRAFT_GAP)))
    elif isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile):
        for halvings in range(survey.halvings, 0, -1):
            power = 1 << halvings
            enough = min(image.width / fitted[0], image.height / fitted[1]) >= power * DRAFT_GAP
            # Pillow rounds the reduced size, the format rounds it up: only where both agree.
            if enough and all(side % power == 0 or side % power >= power / 2 for side in image.size):
                image.reduce = halvings
                return math.ceil(image.width / power), math.ceil(image.height / power)
    return image.size
