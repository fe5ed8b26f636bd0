"""The code blocks of the pages of docs/, and running them as a reader would: in order, in one folder, offline.

What stands in a comment right before a block says what becomes of it: `<!-- file: NAME -->` it is written to that file; `<!-- needs an
engine -->` it is run by the slow tests; `<!-- not run: WHY -->` it is not run. All other `sh` and `python` blocks are run. Every block
names its language, so that none is forgotten.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in (ROOT / "docs").rglob("*.md")
    if "decisions" not in page.parts and page.name != "recipe.md"
)
RUN = ("sh", "python")
NOT_RUN = ("yaml", "toml", "text", "json", "dockerfile")
_MARK = re.compile(r"<!-- (file|not run|needs an engine)(?:: (.+?))? -->")


@dataclass(frozen=True)
class Block:
    """A code block of a page. `mark` is '' where nothing stands before it."""

    page: str
    line: int
    language: str
    mark: str
    detail: str
    code: str

    @property
    def where(self) -> str:
        """`page:line`."""
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    """All code blocks of a page, in order."""
    found: list[Block] = []
    mark = detail = ""
    opened: tuple[int, str] | None = None
    code: list[str] = []
    for number, line in enumerate((ROOT / page).read_text().splitlines(), start=1):
        fence = line.strip().startswith("```")
        if opened is None and fence:
            opened, code = (number, line.strip()[3:].strip()), []
        elif opened is not None and fence:
            found.append(Block(page, opened[0], opened[1], mark, detail, "\n".join(code) + "\n"))
            opened, mark, detail = None, "", ""
        elif opened is not None:
            code.append(line)
        elif said := _MARK.fullmatch(line.strip()):
            mark, detail = said[1], said[2] or ""
        elif line.strip():
            mark = detail = ""
    return found


def run_page(page: str, folder: Path, engine: bool) -> int:
    """Run the blocks of a page; those that need an engine only with `engine`. Returns how many ran.

    Raises AssertionError with the block and its output.
    """
    files = {
        "recipes": ROOT / "recipes",
        "bin/factory": f'#!/bin/sh\nexec "{sys.executable}" -m factory "$@"\n',
        "bin/python": f'#!/bin/sh\nexec "{sys.executable}" "$@"\n',
    }
    (folder / "bin").mkdir()
    for name, content in files.items():
        if isinstance(content, Path):
            (folder / name).symlink_to(content)
        else:
            (folder / name).write_text(content)
            (folder / name).chmod(0o755)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": path,
        "HF_HUB_OFFLINE": "1",
    }
    ran = 0
    said_before = ""  # python blocks go on from each other
    for block in blocks(page):
        if block.mark == "file":
            (folder / block.detail).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.detail).write_text(block.code)
        elif block.language in RUN and block.mark != "not run" and (engine or block.mark != "needs an engine"):
            command = (
                ["bash", "-euo", "pipefail", "-c", block.code]
                if block.language == "sh"
                else [sys.executable, "-c", said_before + block.code]
            )
            said_before += block.code if block.language == "python" else ""
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=560)
            assert done.returncode == 0, f"{block.where}\n{block.code}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            ran += 1
    return ran
