"""Writes docs/tables.md from `factory/runs/tables.py`: `python -m factory.cli.table_reference docs/tables.md`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

import polars as pl

from factory.runs import tables

HEAD = """\
# Tables of a run

Made from `factory/runs/tables.py` by `make docs`; do not edit. Tables are Parquet parts that are only ever added; `factory.Run("runs/x")`
([API](api.md)) reads them with verdicts and scores side by side.
"""
TABLES: Final = {
    "CAPTIONS": ("captions", "captions/part-*.parquet"),
    "QUARANTINE": ("quarantine", "quarantine/part-*.parquet"),
    "SCORE": ("scores", "scores/FILTER/PART.FINGERPRINT.parquet, with the filter's evidence columns"),
    "ANSWERS": ("answers", "answers/JUDGE/PART.*.parquet"),
    "EXPERTS": ("experts", "experts/NAME/part-*.parquet"),
    "SELECTION": ("selection", "selection.parquet"),
    "SHARDS": ("shards", "shards/part-*.parquet"),
    "ORIGINALS": ("originals", "originals/part-*.parquet"),
    "GALLERY": ("gallery", "gallery/part-*.parquet"),
}


def reference() -> str:
    """The page: each table's columns with their types, and what stands beside them in the source."""
    source = Path(tables.__file__).read_text()
    lines = [HEAD]
    for constant, (name, where) in TABLES.items():
        schema: pl.Schema = getattr(tables, constant)
        said = _comments(source, constant)
        above = re.search(rf"# ([^\n]+)\n{constant}\b", source)
        lines += [f"## {name}", "", f"`{where}`" + (f": {above[1]}" if above else ""), ""]
        lines += ["| column | type | meaning |", "| --- | --- | --- |"]
        lines += [
            f"| `{column}` | {_cell(str(kind))} | {_cell(said.get(column, ''))} |" for column, kind in schema.items()
        ]
        lines.append("")
    return "\n".join(lines)


def _comments(source: str, constant: str) -> dict[str, str]:
    """Column -> the comment at the end of its line in the definition of a table."""
    body = re.search(rf"^{constant} = (.*?)^\)", source, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r'"(\w+)": [^#\n]+# ([^\n]+)', body[1])) if body else {}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())
