"""A table cut into numbered parts on the disk: rows are appended to their part, and a part is read whole, once."""

from __future__ import annotations

from pathlib import Path

import polars as pl


def append_parts(folder: Path, rows: pl.DataFrame) -> None:
    """Append rows to the parts that their column `_place` (not negative) names; it is left out.

    A part is Arrow streams one after the other.
    """
    parted = rows.partition_by("_place", as_dict=True, include_key=False)
    for (number,), piece in parted.items():
        with _file(folder, int(number)).open("ab") as file:
            piece.write_ipc_stream(file)


def read_part(folder: Path, number: int) -> pl.DataFrame | None:
    """All rows of a part, which is removed; None where it has none."""
    import pyarrow as pa

    path = _file(folder, number)
    if not path.exists():
        return None
    frames = []
    with path.open("rb") as file:
        while file.tell() < path.stat().st_size:
            frames.append(pl.DataFrame(pa.ipc.open_stream(file).read_all()))
    path.unlink()
    return pl.concat(frames)


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.arrows"
