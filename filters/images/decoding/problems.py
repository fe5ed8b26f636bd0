"""Why the bytes of a file give no pixels."""

from __future__ import annotations

from enum import StrEnum


class Problem(StrEnum):
    """What keeps a file from being decoded. Callers store these values, so they never change."""

    empty = "empty"
    not_an_image = "not_an_image"
    unsupported_format = "unsupported_format"
    truncated = "truncated"
    corrupt = "corrupt"
    too_many_pixels = "too_many_pixels"
    too_complex = "too_complex"
    out_of_memory = "out_of_memory"


class UndecodableImage(Exception):
    """A file without pixels: the problem, and a detail in words, which may hold what the file says of itself."""

    def __init__(self, problem: Problem, detail: str) -> None:
        super().__init__(problem, detail)
        self.problem = problem
        self.detail = detail
