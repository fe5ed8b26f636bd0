"""Why an image could not be used: the documented list of quarantine reasons."""

from collections.abc import Mapping
from enum import StrEnum


class Reason(StrEnum):
    """Why a row could not be used. The values are stored in the quarantine table, so they never change.

    Those up to `source_unreadable` are given by whoever reads the source; `prepare_image` gives the others, and those from
    `empty` to `too_complex`, and `out_of_memory`, are the problems of `filters.images.decoding` under the same names.
    """

    no_image = "no_image"
    duplicate_key = "duplicate_key"
    no_text = "no_text"
    no_key = "no_key"
    unreadable_row = "unreadable_row"
    source_unreadable = "source_unreadable"
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
    Reason.no_text: "The row has no text to filter: none, or only white space.",
    Reason.no_key: "The column that holds the key is empty in this row. Fill it in, or name no key column.",
    Reason.unreadable_row: "The line is no JSON object, has not as many fields as the header, or is too long. Repair it.",
    Reason.source_unreadable: "The file, or the rest of it, could not be read. Fetch it again; the next run tries it again.",
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


class UnusableImageError(Exception):
    """An image that can be decoded and does not fit the view's settings; `prepare_image` makes the `Rejection` of it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
