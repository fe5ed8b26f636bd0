"""Releases as trainers read them: `export(open_release("hub:org/name@v1.2.0"), "llava-data", "llava")`.

Each format is one file. All of them stream, keep the original image bytes, and appear whole or not at all.
"""

from exports.formats.example import Example, Options, Tally
from exports.formats.export import FORMATS, Exported, Format, export, known_formats

__all__ = ["FORMATS", "Example", "Exported", "Format", "Options", "Tally", "export", "known_formats"]
