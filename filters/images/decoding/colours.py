"""8-bit pixels to upright sRGB: the colour profile is applied, and what stands on its head is turned."""

from __future__ import annotations

import io
import struct
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms, ImageFile

_MAX_PROFILE_BYTES = 4_000_000
"""Larger ICC profiles are ignored; those of printing presses have up to 3 MB."""

_PROFILE_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
_PROFILE_CLASSES = {"scnr", "mntr", "prtr", "spac"}
_SRGB = ImageCms.createProfile("sRGB")


def to_srgb(image: Image.Image, icc_profile: object) -> Image.Image:
    """RGB or RGBA in sRGB, of an image in one of the modes that `shrink` gives."""
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


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image as it is meant to be seen; `orientation` as `orientation_of` gives it."""
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def orientation_of(image: ImageFile.ImageFile) -> int:
    """Asked after loading: PNG may carry it behind the pixels, and Pillow has turned a TIFF by then."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, EOFError, struct.error):
        return 1  # broken camera data says nothing about the pixels
    return orientation if isinstance(orientation, int) else 1
