"""Bytes of an image file -> pixels, or the problem why there are none.

The only place of the project that decodes foreign bytes, so it trusts none of them. It goes in this order, and every step
may end the way with an `UndecodableImage`:

1. *Identify* the format by content, never by name, against a short list of formats with decoders in C.
2. *Survey* the file: walk its structure in a bounded number of steps, without decoding, to learn whether it reaches its
   own end, how many frames it has and what decoding would cost. The declared size is checked here or right after the
   header was read, before memory for pixels exists.
3. *Decode* the first frame. JPEG and JPEG 2000 are shrunk while decoding, which saves most of their time and memory. A
   file that is refused for something beside its pixels is mended and decoded again.
4. *Shrink* to the pixel budget, in strips: a huge 16-bit or transparent image is never there twice.
5. *Convert* to sRGB on a background, and turn upright. Both come last because a small image costs little.
6. *Look*: where the first frame is blank, go on to the first that is not.

What is not promised: time. A hostile file of 100 MB can keep a decoder busy for many seconds; whoever calls this for
strangers' files on a deadline needs a time-out of its own.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

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

from filters.images.decoding.background import AUTO, on_background
from filters.images.decoding.colours import orientation_of, to_srgb, upright
from filters.images.decoding.identify import identify
from filters.images.decoding.mending import jpeg_with_ends, png_without_extras
from filters.images.decoding.problems import Problem, UndecodableImage
from filters.images.decoding.shrinking import DRAFT_GAP, fit, shrink
from filters.images.decoding.survey import (
    Survey,
    survey_avif,
    survey_bmp,
    survey_gif,
    survey_heif,
    survey_jpeg,
    survey_jpeg2000,
    survey_png,
    survey_ppm,
    survey_tiff,
    survey_webp,
)

# By default every AVIF decoder starts a thread per core, and the factory already runs a worker per core.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
# Pillow warns of broken metadata, of every file anew. What matters of it ends in a problem or a note.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

MAX_PIXELS: Final = 89_478_485
"""Pillow's own limit: a quarter of a gigabyte of RGB."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """`image`: RGB, upright, on the background. `frame`: which one it is, from 0. `notes`: what is wrong with the file
    beside its pixels, a line each; often none."""

    image: Image.Image
    frame: int
    notes: tuple[str, ...]


class ForeignImage:
    """An image file whose header was read and of which nothing was decoded.

    `format`: Pillow's name (`JPEG`, `PNG`, ...). `size`: (width, height) in pixels as stored, before it is turned upright.
    `frames`: animation frames or pages, at least 1.
    """

    def __init__(self, data: bytes, max_pixels: int = MAX_PIXELS) -> None:
        """`data`: the file, anything at all. `max_pixels`: the largest size that may be decoded, at least 1; decoding may
        take eight bytes of memory for each of them. Raises UndecodableImage."""
        if not data:
            raise UndecodableImage(Problem.empty, "0 bytes")
        self.format = identify(data)
        self._data, self._max_pixels = data, max_pixels
        self._opener = _OPENERS[self.format]
        self._survey = self._opener.survey(data)
        self._notes = list(self._survey.notes)
        self._image_is_later = False
        if self._survey.size:
            self._check_pixels(self._survey.size)
        self._image = self._open()
        self._check_pixels(self._image.size)
        self._check_time()
        stored = self._survey.size or (0, 0)
        self.size: tuple[int, int] = stored if min(stored) > 0 else self._image.size
        self.frames: int = self._survey.frames or int(getattr(self._image, "n_frames", 1))

    @property
    def animated(self) -> bool:
        """Whether there are frames that follow one another; those of TIFF, HEIF and MPO are pages, thumbnails and depths."""
        return self.frames > 1 and self.format in _ANIMATED

    def decode(self, *, fitted: int | None = None, least: int | None = None, background: str = AUTO) -> Decoded:
        """The pixels of the first frame that is not blank (of one colour), or of the first if all are. To be asked once.

        `fitted`: shrink to at most so many pixels, each side rounded down but at least 1. `least`: each side may come
        smaller, but with at least so many pixels (or its own), where that saves time. `background`: as `on_background`
        has it. Raises UndecodableImage.
        """
        try:
            first = self._pixels(fitted, least, background)
            frame = 0
            if self.frames > 1 and _is_blank(first):
                later = self._first_with_content(fitted, least, background)
                if later is not None:
                    frame, first = later
            return Decoded(first, frame, tuple(self._notes))
        except UndecodableImage:
            raise
        except MemoryError:
            raise self._out_of_memory() from None
        except Exception as error:  # Pillow promises no list of exceptions
            raise UndecodableImage(Problem.corrupt, f"{type(error).__name__}: {error}") from error

    # ---- open and load ---------------------------------------------------------------------------------------------

    def _open(self) -> ImageFile.ImageFile:
        try:
            return self._opener.open(io.BytesIO(self._data))
        except UndecodableImage:
            raise
        except MemoryError:
            raise self._out_of_memory() from None
        except Exception as error:
            if self.format == "PNG" and self._leave_out_extras():
                return self._open()
            raise self._undecodable(error) from error

    def _load(self, wanted: tuple[int, int]) -> Image.Image:
        """The pixels of the frame at which the file stands; each side may have as few as `wanted`."""
        self._check_memory(_shrink_while_decoding(self._image, wanted, self._survey), self._survey)
        try:
            if self.format == "JPEG" and not self._survey.whole:
                self._put_end()
                return self._load(wanted)
            self._image.load()
        except (MemoryError, UndecodableImage):
            raise
        except Exception as error:
            if self._mend():
                return self._load(wanted)
            raise self._undecodable(error) from error
        self._check_pixels(self._image.size)
        return self._image

    def _mend(self) -> bool:
        """Whether the file was opened anew without what is wrong beside its pixels."""
        if self._image_is_later:
            return False
        if self.format == "PNG" and self._leave_out_extras():
            self._image = self._open()
            return True
        return False

    def _leave_out_extras(self) -> bool:
        mended = png_without_extras(self._data)
        if mended is None:
            return False
        self._data, left_out = mended
        self._notes.append(f"PNG: read without its chunks {', '.join(left_out)}")
        return True

    def _put_end(self) -> None:
        """Opens a JPEG without end mark anew with one, if all of its pixels are there; raises UndecodableImage if not.

        Even a decoder that does not complain is not believed here: zeros, with which a download reserves the place of what
        it never fetched, decode as pixels.
        """
        digests, ended = set(), b""
        for ended in jpeg_with_ends(self._data):
            image = self._opener.open(io.BytesIO(ended))
            self._check_memory(image.size, self._survey)
            image.load()
            digests.add(_digest(image))
            if len(digests) > 1:
                break
        if len(digests) != 1:
            raise UndecodableImage(Problem.truncated, "JPEG: the file ends before its pixels do")
        self._notes.append("JPEG: all pixels, but no end mark")
        self._data = ended
        self._survey = self._opener.survey(ended)
        self._image = self._opener.open(io.BytesIO(ended))

    def _pixels(self, fitted: int | None, least: int | None, background: str) -> Image.Image:
        size = self._image.size
        if fitted is not None:
            size = fit(size, fitted)
            wanted = math.ceil(size[0] * DRAFT_GAP), math.ceil(size[1] * DRAFT_GAP)
            loaded = self._load(wanted)
        else:
            loaded = self._load(size if least is None else (min(least, size[0]), min(least, size[1])))
            size = loaded.size
        orientation = orientation_of(self._image)
        srgb = to_srgb(shrink(loaded, size), loaded.info.get("icc_profile"))
        return upright(on_background(srgb, background), orientation)

    # ---- frames ----------------------------------------------------------------------------------------------------

    def _first_with_content(
        self, fitted: int | None, least: int | None, background: str
    ) -> tuple[int, Image.Image] | None:
        if self.format not in _ANIMATED and self.format != "TIFF":
            return None
        self._image_is_later = True
        frames = min(self.frames, _MAX_LOOKED_FRAMES, _MAX_LOOKED_PIXELS // math.prod(self.size))
        for frame in range(1, frames):
            try:
                if self.format == "TIFF":
                    self._survey = survey_tiff(self._data, frame)
                    if self._survey.size != self.size:
                        continue  # a thumbnail or a mask
                self._image.seek(frame)
                self._check_pixels(self._image.size)
                pixels = self._pixels(fitted, least, background)
            except MemoryError:
                raise
            except Exception as error:  # what comes behind the first frame cannot spoil it
                self._notes.append(f"{self.format}: frame {frame + 1} is broken: {error}")
                return None
            if not _is_blank(pixels):
                self._notes.append(f"{self.format}: frame {frame + 1}, as those before are blank")
                return frame, pixels
        return None

    # ---- limits ----------------------------------------------------------------------------------------------------

    def _check_pixels(self, size: tuple[int, int]) -> None:
        if size[0] * size[1] > self._max_pixels:
            detail = f"{size[0]}x{size[1]} is {size[0] * size[1]:,} pixels, at most {self._max_pixels:,} allowed"
            raise UndecodableImage(Problem.too_many_pixels, detail)

    def _check_time(self) -> None:
        survey, pixels = self._survey, math.prod(self._survey.size or self._image.size)
        if survey.scans > _MAX_SCANS or survey.scans * pixels > _MAX_SCANNED_PIXELS:
            raise UndecodableImage(Problem.too_complex, f"{self.format} with {survey.scans} scans")
        codec = self._image.tile[0][0] if self._image.tile else ""
        if codec in _PYTHON_DECODERS and pixels > _MAX_PYTHON_PIXELS:
            detail = f"{self.format} of kind {codec} is slow to decode, at most {_MAX_PYTHON_PIXELS:,} pixels allowed"
            raise UndecodableImage(Problem.too_complex, detail)

    def _check_memory(self, size: tuple[int, int], survey: Survey) -> None:
        """`size` is (width, height) as it will be decoded, after any shrinking while decoding."""
        cost = int(size[0] * size[1] * survey.bytes_per_pixel) + survey.fixed_bytes
        limit = _BYTES_PER_PIXEL * self._max_pixels
        if cost > limit:
            detail = f"decoding this {self.format} needs {cost // 10**6:,} MB, at most {limit // 10**6:,} MB allowed"
            raise UndecodableImage(Problem.too_many_pixels, detail)

    def _out_of_memory(self) -> UndecodableImage:
        return UndecodableImage(Problem.out_of_memory, f"a file of {len(self._data):,} bytes")

    def _undecodable(self, error: Exception) -> UndecodableImage:
        name, message = self.format, str(error) or type(error).__name__
        if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
            return UndecodableImage(Problem.too_many_pixels, message)
        if self.format == "TIFF" and 43 in self._data[2:4]:
            return UndecodableImage(Problem.unsupported_format, f"BigTIFF: {message}")
        if "too large" in message or "Too much memory" in message:
            return UndecodableImage(Problem.too_complex, f"{name}: {message}")
        if not self._survey.whole or "truncated" in message or "not enough image data" in message:
            return UndecodableImage(Problem.truncated, f"{name}: {message}")
        if _UNSUPPORTED_WORDS.search(message) or isinstance(error.__cause__, KeyError):
            return UndecodableImage(Problem.unsupported_format, f"{name}: {message}")
        return UndecodableImage(Problem.corrupt, f"{name}: {message}")


_MAX_SCANS: Final = 100
_MAX_SCANNED_PIXELS: Final = 3_000_000_000
"""Scans of a JPEG, and scans times pixels. Encoders write at most about 20 scans; each one, however short, costs a pass
over all pixels, and 3,000,000,000 pixels take about five seconds (libjpeg-turbo's report LJT-01-004)."""

_BYTES_PER_PIXEL: Final = 8
"""Decoding may use this much memory for each of `max_pixels`, 716 MB by default. Most formats need 4 or less."""

_PYTHON_DECODERS: Final = {"bmp_rle", "ppm", "ppm_plain"}
_MAX_PYTHON_PIXELS: Final = 2_000_000
"""Pillow decodes these in Python, at some 2 million pixels per second."""

_ANIMATED: Final = {"GIF", "PNG", "WEBP", "AVIF"}
_MAX_LOOKED_FRAMES: Final = 100
_MAX_LOOKED_PIXELS: Final = 250_000_000
"""In search of a frame that is not blank: frames, and frames times pixels, which take some seconds."""
_BLANK_SPREAD: Final = 8
"""A frame is blank if no channel varies by more than so many of 255 values: what lossy compression makes of one colour."""

_UNSUPPORTED_WORDS = re.compile(
    "unknown pixel mode|cannot handle|unsupported|not supported|not installed|unable to determine|samples per pixel",
    re.IGNORECASE,
)


def _is_blank(rgb: Image.Image) -> bool:
    return all(high - low <= _BLANK_SPREAD for low, high in rgb.getextrema())  # type: ignore[misc]


def _digest(image: Image.Image) -> bytes:
    digest, rows = hashlib.blake2b(), max(1, 1_000_000 // image.width)
    for top in range(0, image.height, rows):
        digest.update(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes())
    return digest.digest()


# ---- formats --------------------------------------------------------------------------------------------------------


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


def _open_heif(stream: io.BytesIO) -> ImageFile.ImageFile:
    try:
        from pillow_heif import HeifImageFile, options
    except ImportError:
        detail = "HEIC: install the package that reads it before the run, pip install 'caption-factory[heic]'"
        raise UndecodableImage(Problem.unsupported_format, detail) from None
    options.DECODE_THREADS = 1
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    return HeifImageFile(stream)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class _Opener:
    """How one format is surveyed and opened. `Image.open` would hide why a file could not be opened."""

    survey: Callable[[bytes], Survey]
    open: Callable[[io.BytesIO], ImageFile.ImageFile]


_OPENERS: Mapping[str, _Opener] = {
    "AVIF": _Opener(survey_avif, AvifImagePlugin.AvifImageFile),
    "BMP": _Opener(survey_bmp, BmpImagePlugin.BmpImageFile),
    "GIF": _Opener(survey_gif, GifImagePlugin.GifImageFile),
    "HEIF": _Opener(survey_heif, _open_heif),
    "JPEG": _Opener(survey_jpeg, JpegImagePlugin.JpegImageFile),
    "JPEG2000": _Opener(survey_jpeg2000, Jpeg2KImagePlugin.Jpeg2KImageFile),
    "PNG": _Opener(survey_png, PngImagePlugin.PngImageFile),
    "PPM": _Opener(survey_ppm, PpmImagePlugin.PpmImageFile),
    "TIFF": _Opener(survey_tiff, _open_tiff),
    "WEBP": _Opener(survey_webp, WebPImagePlugin.WebPImageFile),
}


def _shrink_while_decoding(image: ImageFile.ImageFile, wanted: tuple[int, int], survey: Survey) -> tuple[int, int]:
    """Ask the decoder for fewer pixels where it can, at least `wanted` a side; returns the (width, height) it will give."""
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        image.draft(None, wanted)
    elif isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile):
        for halvings in range(survey.halvings, 0, -1):
            power = 1 << halvings
            enough = min(image.width / wanted[0], image.height / wanted[1]) >= power
            # Pillow rounds the reduced size, the format rounds it up: only where both agree.
            if enough and all(side % power == 0 or side % power >= power / 2 for side in image.size):
                image.reduce = halvings
                return math.ceil(image.width / power), math.ceil(image.height / power)
    return image.size
