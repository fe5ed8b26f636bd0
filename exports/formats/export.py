"""Write a release in a trainer's format: one directory, whole or absent."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from exports.consume import OpenedRelease, Report, open_release
from exports.formats.example import Options, Tally, flat_schema, read_examples
from exports.formats.whole_directory import whole_directory
from exports.manifest import canonical_json
from exports.release import ReleaseError

SUMMARY = "export.json"


@dataclass(frozen=True, slots=True)
class Format:
    """What a format is for, and what it needs of a row. One of a plugin has a name and a function that writes it, too."""

    summary: str
    images: bool = True
    pairs: bool = False  # a caption and a worse one
    asks: bool = True  # question and caption go to a VLM's tokenizer, so they hold no placeholder
    name: str | None = None
    write: Callable[..., None] | None = None  # of (examples, folder, options, tally), as exports/formats/text.py has it


FORMATS = {
    "sft": Format("TRL prompt and completion, the loss on the caption alone (Parquet)"),
    "messages": Format("conversations for chat trainers (Parquet)"),
    "llava": Format("LLaVA, VILA, torchtune: one JSON list and image files"),
    "sharegpt": Format("LLaMA-Factory, ms-swift: JSON lines and image files"),
    "webdataset": Format("tars of image, text and JSON", asks=False),
    "text": Format("captions alone, one a line", images=False, asks=False),
    "energon": Format("Megatron-Energon: tars and their index"),
    "preference": Format("TRL DPO: chosen and rejected caption (Parquet)", pairs=True),
    "preference_sharegpt": Format("LLaMA-Factory DPO: JSON lines and image files", pairs=True),
    "preference_swift": Format("ms-swift DPO: JSON lines and image files", pairs=True),
}


GROUP: Final = "caption_factory.formats"
"""The entry point group. An entry point's name is the format's name, its value `package.module:OBJECT`, a `Format`."""
_REGISTERED: dict[str, Format] = {}


def register_format(format: Format) -> None:
    """Make a format known by its name in this process. Raises ValueError where it lacks something, or its name is taken."""
    name = format.name
    if not name or format.write is None:
        raise ValueError("a format needs a name and a function that writes it: Format(summary, name=..., write=...)")
    if name in FORMATS or _REGISTERED.get(name, format) is not format:
        raise ValueError(f"there is a format '{name}' already; choose another name")
    _REGISTERED[name] = format


def unregister_format(name: str) -> None:
    """Forget a format that `register_format` made known, so that another may have its name."""
    _REGISTERED.pop(name, None)


def known_formats() -> dict[str, Format]:
    """Every format by name: of this package, of files that were loaded, and of packages that are installed.

    Raises ReleaseError, naming the plugin, where one cannot be loaded or is no format.
    """
    found = FORMATS | _REGISTERED
    for point in entry_points(group=GROUP):
        try:
            format = point.load()
        except Exception as error:
            raise ReleaseError(
                f"the format plugin {point.name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}; update or "
                "uninstall its package"
            ) from error
        if not isinstance(format, Format) or format.write is None or found.get(point.name, format) is not format:
            raise ReleaseError(
                f"the format plugin {point.name!r} ({point.value}) is no exports.formats.Format with a name of its own; update or "
                "uninstall its package"
            )
        found[point.name] = format
    return found


@dataclass(frozen=True)
class Exported:
    """What was written. `read` = `written` + the sum of `left_out`."""

    format: str
    to: str
    release: str  # name and version
    manifest_sha256: str  # of the release
    commit: str | None  # on the Hub
    read: int
    written: int
    words: int  # of the captions written
    left_out: dict[str, int]  # reason -> rows
    changed: dict[str, int]  # neutralised, default_question -> rows

    def summary(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For a terminal."""
        found = [f"{self.format:<11}{self.to} ({self.written:,} rows, {self.words:,} words, from {self.release})"]
        found += [f"{'':<11}{count:,} left out: {REASONS.get(name, name)}" for name, count in self.left_out.items()]
        return found + [f"{'':<11}{count:,} {CHANGES.get(name, name)}" for name, count in self.changed.items()]


REASONS = {
    "no_caption": "no caption",
    "no_view": "no kept caption of that view",
    "no_image": "no image bytes",
    "unknown_image": "image of no known kind",
    "duplicate_id": "a second row with the same id",
    "no_rejected": "no candidate of the same prompt that a filter turned down",
}
CHANGES = {
    "neutralised": "with an image placeholder or control token in their text; it was made plain",
    "default_question": "without a prompt of their own; the question is the default one",
}


def export(
    release: OpenedRelease | str | Path,
    to: str | Path,
    format: str,
    *,
    report: Report | None = None,
    **options: Any,
) -> Exported:
    """Write a release in a trainer's format.

    Args:
        release: an opened release, or what `open_release` takes: hub:org/name@v1.2.0, or a directory.
        to: a directory that is not there yet (or is empty); it appears when all of it is written.
        format: one of `known_formats()`.
        report: called with a line of progress while the release is fetched and checked.
        options: fields of `Options`: view, prompts, seed, shard_mb, rejected_by.

    Returns:
        What was written and what was left out, with reasons; also in `export.json` of the directory. The same release,
        format and options give the same bytes.

    Raises:
        ReleaseError: unknown format, `to` exists, no such release, or no row fits the format.
        OSError: the disk is full or not writable; nothing is left of the export then.
    """
    formats = known_formats()
    if format not in formats:
        raise ReleaseError(f"'{format}' is no format; there are {', '.join(formats)}")
    chosen = Options(**options)
    if chosen.rejected_by and not formats[format].pairs:
        raise ReleaseError(
            f"rejected_by goes with {', '.join(name for name, one in formats.items() if one.pairs)}, not {format}"
        )
    if chosen.shard_mb < 1:
        raise ReleaseError(f"shard_mb is {chosen.shard_mb}; it is at least 1")
    needs = formats[format]
    write: Any = needs.write or importlib.import_module(f"exports.formats.{format}").write
    with whole_directory(to) as folder:  # says that `to` exists before the release is fetched
        opened = release if isinstance(release, OpenedRelease) else open_release(release, report=report)
        files = opened.data_files()
        tally = Tally()
        examples = read_examples(files, chosen, tally, images=needs.images, asks=needs.asks, pairs=needs.pairs)
        more = {"schema": flat_schema(files)} if format == "webdataset" else {}
        write(examples, folder, chosen, tally, **more)
        if not tally.written:
            reasons = ", ".join(f"{count:,} {REASONS.get(name, name)}" for name, count in tally.left_out.items())
            raise ReleaseError(f"nothing to write as {format}: {reasons or 'the release has no rows'}")
        exported = Exported(
            format=format,
            to=str(to),
            release=f"{opened.manifest.get('name', opened.folder.name)} {opened.version}",
            manifest_sha256=opened.release.manifest_sha256,
            commit=opened.commit,
            read=tally.read,
            written=tally.written,
            words=tally.words,
            left_out=dict(sorted(tally.left_out.items())),
            changed=dict(sorted(tally.changed.items())),
        )
        summary = {key: value for key, value in exported.summary().items() if key not in ("to", "commit")}
        (folder / SUMMARY).write_bytes(canonical_json({**summary, "options": asdict(chosen)}))
    return exported
