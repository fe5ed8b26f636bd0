"""The image in a cell of a table: bytes, struct<bytes, path>, a path, base64, or the first of a list of these."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from factory.sources.inside import Root, Unusable
from factory.sources.source import DETAIL

if TYPE_CHECKING:
    import pyarrow as pa

CAPTIONS_ALONE: Final = "for its captions alone use kind: captions"

_DATA_URL = re.compile(r"data:[\w.+/-]*;base64,", re.IGNORECASE)
_WEB = re.compile(r"(https?|ftp)://", re.IGNORECASE)
_BASE64_OF_IMAGE = re.compile(r"/9j/|iVBOR|R0lGOD|UklGR|Qk[0-9A-Za-z]|SUkq|TU0AK|AAAA")
_LEAST_BASE64: Final = 64


@dataclass(frozen=True, slots=True)
class Cell:
    """The bytes of an image, or why there are none: `problem` and `detail` as a SourceRow has them."""

    data: bytes | None
    problem: str | None = None
    detail: str = ""


def read_cell(value: Any, root: Root, max_bytes: int) -> Cell:
    """The image of a cell. Of a list the first image, with a detail that says how many there are.

    Args:
        value: the cell as Python data.
        root: below which the paths in cells lie.
        max_bytes: of one image.
    """
    try:
        return Cell(_bytes(value, root, max_bytes), None, _first_of(value))
    except Unusable as unusable:
        return Cell(None, unusable.problem, unusable.detail)


def _bytes(value: Any, root: Root, max_bytes: int) -> bytes:
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
        if isinstance(value, (list, tuple, int, float)):
            raise Unusable("missing", "a list of numbers, which is no image file")
    if isinstance(value, dict):
        content = value.get("bytes")
        value = content if content is not None else value.get("path") or value.get("url")
    if value is None or value == "":
        raise Unusable("missing", "no image in this row")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bounded(bytes(value), max_bytes)
    if not isinstance(value, str):
        raise Unusable("missing", f"a {type(value).__name__} instead of an image: {value!r}")
    return _of_text(value, root, max_bytes)


def _of_text(value: str, root: Root, max_bytes: int) -> bytes:
    mark = _DATA_URL.match(value[:100])
    if mark or (len(value) >= _LEAST_BASE64 and _BASE64_OF_IMAGE.match(value[:8])):
        encoded = value[mark.end() :] if mark else value
        if len(encoded) > max_bytes * 4 // 3 + max_bytes // 16 + 1024:  # lines may end every 76 characters
            raise Unusable("too_many_bytes", f"about {len(encoded) * 3 // 4:,} bytes in base64, limit {max_bytes:,}")
        try:
            return _bounded(base64.b64decode("".join(encoded.split()), validate=True), max_bytes)
        except (binascii.Error, ValueError) as error:
            if mark:
                raise Unusable("missing", f"base64 that cannot be read: {error}") from None
    if is_address(value):
        raise Unusable("missing", f"an address of the web, which is not fetched here; download it first: {value}")
    return root.read(value, max_bytes)


def is_address(value: Any) -> bool:
    """Whether a cell is an address of the web."""
    return isinstance(value, str) and _WEB.match(value) is not None


def _bounded(data: bytes, max_bytes: int) -> bytes:
    if len(data) > max_bytes:
        raise Unusable("too_many_bytes", f"{len(data):,} bytes, limit {max_bytes:,}")
    return data


def _first_of(value: Any) -> str:
    many = isinstance(value, (list, tuple)) and len(value) > 1
    return f"the first of {len(value)} images in this row"[:DETAIL] if many else ""


def no_image_type(kind: pa.DataType) -> str | None:
    """Why a column of this Arrow type cannot hold images, in words; None where it can."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = no_image_type(kind.value_type)
        return inner and f"lists of {kind.value_type}"
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    data = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    if text or data or pa.types.is_null(kind) or pa.types.is_binary_view(kind):
        return None
    if pa.types.is_struct(kind):
        names = {field.name for field in kind}
        return None if names & {"bytes", "path", "url"} else f"structs of {', '.join(sorted(names))}"
    return str(kind)


def no_id_type(kind: pa.DataType) -> str | None:
    """Why a column of this Arrow type cannot hold ids, in words; None where it can."""
    import pyarrow as pa

    if pa.types.is_floating(kind):
        return f"{kind}: fractions are no ids, two of them can be one; save it as text or whole numbers"
    if pa.types.is_nested(kind) or pa.types.is_boolean(kind):
        return f"{kind}, which is no id"
    return None
