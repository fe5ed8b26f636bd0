"""Which rows of a release are learned, in which order, and which are set aside.

Rows are those of the config `sft`: a question and its answer with the image. Images are told apart by the SHA-256 of their
bytes, so that a picture under two names stays on one side. Rows of a mixture are captions, documents or plain texts; a text
counts as an image of its own where rows are told apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exports.consume import OpenedRelease
from exports.formats import export
from exports.formats.export import SUMMARY
from exports.mixture import Mixed
from exports.mixture.mixing import COLUMNS as MIXTURE_COLUMNS
from exports.release import ReleaseError
from factory.errors import TrainingError
from factory.rounds.training_settings import Training

if TYPE_CHECKING:
    import numpy as np

COLUMNS: Final = {"sft": ("images", "prompt", "completion"), "dpo": ("images", "prompt", "chosen", "rejected")}
"""What a row has, by method."""
MOST_VALIDATION: Final = 1024
"""Images set aside at most: beyond, the loss on them costs more than it tells."""


@dataclass(frozen=True)
class Rows:
    """`columns`: what a row has. `files`: Parquet in order. `order`: the row of each place of the training, steps x batch. `validation`: rows set aside.

    `counts`: rows, images (of a mixture texts too), without_caption (images of the release that have none to learn), held_out (rows left out because their
    image is held out), validation and learned (rows).
    """

    columns: tuple[str, ...]
    files: tuple[str, ...]
    order: np.ndarray
    validation: np.ndarray
    steps: int
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Learned:
    """The `sft` files of one release, how much it weighs among others, and how many of its rows have no caption to learn.

    `columns`: where they are not those of the method. `shuffled`: False for a mixture, whose shares hold in its own order.
    """

    name: str
    files: tuple[str, ...]
    weight: float
    left_out: int = 0
    columns: tuple[str, ...] | None = None
    shuffled: bool = True


def find_rows(opened: OpenedRelease, weight: float, view: str | None, scratch: Path, method: str = "sft") -> Learned:
    """Find the rows of a release for a method; they are written below `scratch` where it has no `sft` rows of that view.

    Raises:
        TrainingError: the release has no caption of the view, or no rows.
    """
    name = str(opened.folder)
    format = "sft" if method == "sft" else "preference"
    if view is None:
        try:
            return Learned(name, tuple(opened.data_files(format)), weight)
        except ReleaseError:
            pass  # a release without the config: it is made from the default one
    folder = scratch / f"{format}-{opened.release.manifest_sha256[:12]}-{view or 'released'}"
    if not folder.exists():
        try:
            export(opened, folder, format, view=view)
        except ReleaseError as error:
            if "no_rejected" in str(error) or "turned down" in str(error):
                raise TrainingError(
                    f"{opened.folder}: no image has a rejected caption beside its released one, so there is nothing for dpo to learn: "
                    "ask for several candidates (sampling.n), and let `select.require` turn the unfaithful ones down"
                ) from None
            raise TrainingError(_without(view, opened, error)) from None
    left_out = sum(json.loads((folder / SUMMARY).read_text())["left_out"].values())
    return Learned(name, tuple(sorted(str(path) for path in folder.rglob("*.parquet"))), weight, left_out)


def mixture_rows(mixture: Mixed, settings: Training) -> Learned:
    """The rows of a mixture. Raises TrainingError where the settings are for a release alone."""
    if settings.method != "sft" or settings.view is not None:
        wrong = "view" if settings.view is not None else f"method: {settings.method}"
        raise TrainingError(f"{mixture.to}: a mixture is learned whole, by sft; remove {wrong}")
    return Learned(mixture.to, tuple(mixture.data_files()), 1.0, columns=MIXTURE_COLUMNS, shuffled=False)


def _without(view: str | None, opened: OpenedRelease, error: ReleaseError) -> str:
    if view is None:
        return f"{opened.folder}: {error}"
    return (
        f"{opened.folder}: this release has no caption of the view '{view}' ({error}); it has: {', '.join(_views(opened))}. "
        "Set `view` to one of these, or leave it out for the released captions"
    )


def _views(opened: OpenedRelease) -> list[str]:
    import polars as pl

    found: set[str] = set()
    for file in opened.data_files():
        frame = pl.scan_parquet(file)
        names = frame.collect_schema().names()
        if "captions" in names:
            candidates = frame.select(pl.col("captions").explode()).drop_nulls().unnest("captions")
            found.update(candidates.filter("kept").select("view").unique().collect()["view"].to_list())
        if "original" in names and frame.select(pl.col("original").is_not_null().any()).collect().item():
            found.add("original")
    return sorted(found) or ["none"]


def choose_rows(learned: list[Learned], settings: Training, held_out: frozenset[str]) -> Rows:
    """Decide what is learned, in which order.

    Args:
        learned: the releases; the validation images are the first one's.
        held_out: SHA-256 (hex) of the bytes of images that must not be learned.

    Raises:
        TrainingError: nothing is left to learn.
    """
    import numpy as np

    sources: list[tuple[np.ndarray, list[Marks]]] = []
    start = 0
    for one in learned:
        hashes = [marks for file in one.files for marks in _marks(file)]
        sources.append((np.arange(start, start + len(hashes)), hashes))
        start += len(hashes)
    if not start:
        raise TrainingError(f"{learned[0].name}: no rows to learn from")
    aside = _set_aside([marks[0] for marks in sources[0][1] if not held_out.intersection(marks)], settings, held_out)
    left: list[np.ndarray] = []
    for rows, hashes in sources:
        keep = np.array([not held_out.intersection(one) and not aside.intersection(one) for one in hashes], dtype=bool)
        left.append(rows[keep])
    for one, rows in zip(learned, left, strict=True):
        if not len(rows):
            raise TrainingError(
                f"{one.name}: all of its images are held out or set aside for validation, so nothing is left to learn; "
                "use another release, or a smaller `validation`"
            )
    set_aside = [one[0] in aside and not held_out.intersection(one) for one in sources[0][1]]
    validation = sources[0][0][np.array(set_aside, dtype=bool)]
    total = sum(len(rows) for rows in left)
    steps = settings.steps or max(1, round((settings.epochs or 1) * total / settings.batch))
    shuffled = learned[0].shuffled
    order = _order(left, [one.weight for one in learned], steps * settings.batch, settings.seed, shuffled)
    every = [marks for _, hashes in sources for marks in hashes]
    found = held_out.intersection(image for row in order.tolist() for image in every[row])
    if found:  # the check of what is promised, on what will really be read
        raise TrainingError(f"{len(found)} held-out images would be learned; this is a bug")
    counts = {
        "rows": start,
        "images": len({image for marks in every for image in marks}),
        "without_caption": sum(one.left_out for one in learned),
        "held_out": sum(not held_out.isdisjoint(marks) for marks in every),
        "validation": len(validation),
        "learned": total,
    }
    return Rows(
        learned[0].columns or COLUMNS[settings.method],
        tuple(file for one in learned for file in one.files),
        order,
        validation,
        steps,
        counts,
    )


Marks = tuple[str, ...]
"""What tells a row apart: the SHA-256 (hex) of each of its images, or, where it has none, of the image that its text is about, or
of its text."""


def _marks(file: str) -> Iterator[Marks]:
    """The marks of every row of a file."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as parquet:
        texts = [name for name in ("text", "texts", "about") if name in parquet.schema_arrow.names]
        for batch in parquet.iter_batches(64, columns=["images", *texts]):
            for place, images in enumerate(batch.column("images")):
                found = [image["bytes"].as_py() or b"" for image in images] if images.is_valid else []
                about = batch.column("about")[place].as_py() if "about" in texts else None
                if about is not None:
                    yield (about,)
                    continue
                if not found:
                    found = [repr([batch.column(name)[place].as_py() for name in texts]).encode()]
                yield tuple(hashlib.sha256(data).hexdigest() for data in found)


def _set_aside(hashes: list[str], settings: Training, held_out: frozenset[str]) -> set[str]:
    """The validation images: those with the smallest draws, so that the same image is set aside in every release."""
    images = sorted(set(hashes) - held_out, key=lambda one: hashlib.sha256(f"{settings.seed}\0{one}".encode()).digest())
    if not settings.validation or len(images) < 2:
        return set()
    count = min(MOST_VALIDATION, max(1, round(settings.validation * len(images))), len(images) - 1)
    return set(images[:count])


def _order(sources: list[np.ndarray], weights: list[float], places: int, seed: int, shuffled: bool) -> np.ndarray:
    """`places` rows in the order in which they are learned.

    The rows of one source: one pass after the other, `shuffled` or as they stand. Of several: spread evenly, each in its share of the places.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    shares = np.array(weights) / sum(weights)
    counts = np.floor(shares * places).astype(int)
    counts[: places - counts.sum()] += 1
    streams: list[np.ndarray] = []
    for rows, count in zip(sources, counts, strict=True):
        passes = [generator.permutation(rows) if shuffled else rows for _ in range(-(-count // len(rows)))]
        streams.append(np.concatenate(passes)[:count] if passes else rows[:0])
    place = np.concatenate([(np.arange(len(stream)) + 0.5) / max(1, len(stream)) for stream in streams])
    ordered: np.ndarray = np.concatenate(streams)[np.argsort(place, kind="stable")]
    return ordered


def as_dataset(files: tuple[str, ...], columns: tuple[str, ...], rows: np.ndarray, cache: str | None = None) -> Any:
    """These rows and columns as a `datasets` dataset with undecoded images."""
    from datasets import Image, List, load_dataset

    whole = load_dataset("parquet", data_files=list(files), split="train", cache_dir=cache)
    whole = whole.select_columns(list(columns)).cast_column("images", List(Image(decode=False)))
    return whole.select(rows)


def write_rows(rows: Rows, folder: Path) -> None:
    """The learned rows as a directory that `load_dataset` reads: `train` (each row once, in the order in which it is first
    learned) and `validation`, for trainers that read files. Held-out images are in neither.
    """
    import numpy as np
    from datasets import Image, List

    if (folder / "whole").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    _, first = np.unique(rows.order, return_index=True)
    chosen = {"train": rows.order[np.sort(first)], "validation": rows.validation}
    for split, places in chosen.items():
        if len(places):
            dataset = as_dataset(rows.files, rows.columns, places, str(folder.parent / "cache"))
            dataset.cast_column("images", List(Image())).to_parquet(str(folder / f"{split}-00000.parquet"))
    (folder / "whole").touch()
