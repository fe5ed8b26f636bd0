"""Build, describe, publish, check and open releases: versioned Hugging Face datasets. Works without the factory."""

from exports.consume import OpenedRelease, open_release

__all__ = ["OpenedRelease", "open_release"]
