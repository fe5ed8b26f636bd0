"""The law of the house: which room of factory/, filters/ and exports/ may import which, and what each imports in fact.

A room is a folder, or a file that lies beside the folders. `python -m tests.rooms docs/architecture.md` writes the law into that
page, with each room's duty from its docstring.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("filters", "exports", "factory")
BEGIN, END = "<!-- rooms: written by `make docs`, do not edit -->", "<!-- end of the rooms -->"

MAY_IMPORT: dict[str, str] = {
    "filters/contract": "",
    "filters/models": "filters/contract",
    "filters/wording": "filters/contract filters/models",
    "filters/claims": "filters/contract filters/models filters/wording",
    "filters/text": "filters/contract filters/models filters/wording",
    "filters/sets": "filters/contract filters/models filters/wording filters/text",
    "filters/images/decoding": "",
    "filters/images": (
        "filters/contract filters/models filters/wording filters/text filters/sets filters/images/decoding"
    ),
    "filters/references": "filters/contract filters/models filters/wording filters/claims filters/images",
    "filters/asking": "filters/contract filters/models filters/wording filters/claims filters/images",
    "filters/calibration": "filters/contract",
    "filters/registry.py": "filters/contract filters/text filters/sets filters/images filters/references filters/asking",
    "filters/scoring.py": "filters/contract",
    "filters": "filters/*",
    "exports": "filters",
    "exports/formats": "exports",
    "exports/mixture": "exports exports/formats",
    "factory/errors.py": "",
    "factory/progress.py": "exports",
    "factory/notice.py": "exports factory/errors.py",
    "factory/demo": "factory/errors.py",
    "factory/models": "factory/errors.py factory/demo",
    "factory/experts": "filters/* factory/errors.py",
    "factory/plugins.py": "filters/* exports/formats factory/errors.py factory/experts",
    "factory/recipe": "filters/* factory/errors.py factory/models factory/plugins.py factory/experts",
    "factory/runs": "filters/* exports factory/errors.py",
    "factory/images": "filters/images/decoding factory/errors.py factory/recipe",
    "factory/sources": "exports factory/errors.py factory/plugins.py factory/demo factory/recipe factory/runs factory/images",
    "factory/work": (
        "filters/* exports factory/errors.py factory/models factory/experts factory/recipe factory/runs factory/images factory/sources"
    ),
    "factory/engines": "filters/* factory/errors.py factory/models factory/recipe factory/work",
    "factory/costs": "factory/recipe factory/runs factory/work factory/engines",
    "factory/judging": (
        "filters/* exports factory/errors.py factory/progress.py factory/models factory/recipe factory/runs factory/images "
        "factory/sources factory/work factory/engines"
    ),
    "factory/captioning": (
        "filters/* factory/errors.py factory/progress.py factory/experts factory/recipe factory/runs factory/images factory/sources "
        "factory/work factory/engines factory/costs factory/judging"
    ),
    "factory/scoring": (
        "filters/* factory/errors.py factory/progress.py factory/recipe factory/runs factory/sources factory/work "
        "factory/engines factory/judging"
    ),
    "factory/selection": "filters/* factory/errors.py factory/recipe factory/runs factory/work factory/scoring",
    "factory/repair": (
        "filters/* factory/errors.py factory/progress.py factory/recipe factory/runs factory/sources factory/work "
        "factory/engines factory/judging factory/captioning factory/scoring factory/selection"
    ),
    "factory/evaluation": (
        "filters/* exports factory/errors.py factory/demo factory/recipe factory/runs factory/work factory/scoring"
    ),
    "factory/calibration": (
        "filters/* exports factory/errors.py factory/recipe factory/runs factory/work factory/scoring factory/evaluation"
    ),
    "factory/releasing": "filters/* exports/* factory/errors.py factory/recipe factory/runs factory/sources factory/work",
    "factory/outcome.py": "exports factory/runs factory/work factory/costs factory/judging factory/captioning factory/repair",
    "factory/report": (
        "filters/* factory/errors.py factory/demo factory/recipe factory/runs factory/images factory/work factory/judging "
        "factory/evaluation factory/calibration factory/outcome.py"
    ),
    "factory/filtering.py": "exports factory/errors.py factory/recipe factory/sources",
    "factory/first_recipe.py": "exports factory/errors.py factory/recipe factory/runs factory/sources factory/work factory/filtering.py",
    "factory/pipeline.py": (
        "exports factory/errors.py factory/progress.py factory/recipe factory/runs factory/sources factory/work "
        "factory/engines factory/costs factory/captioning factory/scoring factory/selection factory/repair factory/releasing "
        "factory/outcome.py factory/report"
    ),
    "factory/comparison": ("filters/* factory/errors.py factory/recipe factory/runs factory/work factory/pipeline.py"),
    "factory/quoting": (
        "exports factory/errors.py factory/models factory/recipe factory/runs factory/images factory/sources factory/work "
        "factory/engines factory/costs factory/outcome.py factory/pipeline.py"
    ),
    "factory/rounds": (
        "filters/* exports/* factory/errors.py factory/demo factory/models factory/recipe factory/runs factory/images factory/sources factory/work "
        "factory/engines factory/scoring factory/evaluation factory/releasing factory/outcome.py factory/pipeline.py factory/comparison"
    ),
    "factory/review": (
        "filters/* exports factory/errors.py factory/demo factory/models factory/recipe factory/runs factory/images factory/sources "
        "factory/work factory/judging factory/calibration factory/report factory/comparison factory/rounds"
    ),
    "factory/api": (
        "filters/* exports factory/errors.py factory/notice.py factory/recipe factory/runs factory/work factory/repair "
        "factory/releasing factory/outcome.py "
        "factory/filtering.py factory/pipeline.py factory/rounds"
    ),
    "factory": "factory/errors.py factory/recipe factory/work factory/outcome.py factory/api",
    "factory/cli": "*",
    "factory/__main__.py": "factory/cli",
}
"""Room -> the rooms it may import, from the lowest up: every room stands below those that may import it. `NAME/*` is what
lies below of that package, `*` is all that does."""

STILL_UPWARD: set[str] = set()
"""Imports that break the law today. This list only shrinks: nothing may be added, and what no longer breaks the law must go."""

STILL_CIRCULAR: set[str] = set()
"""Files that import each other today, and others that lie on the way; this list only shrinks, too."""


@cache
def files() -> dict[str, Path]:
    """Module name -> its file, of every file of PACKAGES."""
    found = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def imports() -> dict[str, set[str]]:
    """Module -> the modules it imports, anywhere in it: inside functions and for type checkers only, too."""
    return {name: _imports(file) - {name} for name, file in files().items()}


def _imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {_known(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise AssertionError(f"{file}:{node.lineno}: relative import; write the whole name")
            found |= {_known(f"{node.module}.{alias.name}") for alias in node.names}
    return found - {""}


def _known(name: str) -> str:
    """The module of PACKAGES that importing `name` loads, be it the module itself or the one that holds the name; else ''."""
    while name and name not in files():
        name = name.rpartition(".")[0]
    return name


def room_of(module: str) -> str:
    """The room a module is in: its folder, or itself where it lies beside folders. `exports` is one room but for its folders."""
    file = files()[module].relative_to(ROOT)
    folder = file.parent.as_posix()
    if folder not in PACKAGES or folder == "exports" or file.name == "__init__.py":
        return folder
    return file.as_posix()


def rooms() -> dict[str, list[str]]:
    """Room -> its modules, in the order of MAY_IMPORT; rooms that it lacks come last. `factory` is its `__init__.py`."""
    found: dict[str, list[str]] = {room: [] for room in MAY_IMPORT}
    for module in files():
        found.setdefault(room_of(module), []).append(module)
    return found


def allowed(room: str) -> set[str]:
    """What the law lets the room import."""
    found: set[str] = set()
    floors = list(MAY_IMPORT)
    for word in MAY_IMPORT.get(room, "").split():
        package = word.removesuffix("*")
        below = {other for other in floors[: floors.index(room)] if f"{other}/".startswith(package)}
        found |= below if word.endswith("*") else {word}
    return found


def upward() -> set[str]:
    """`importing module -> imported module` wherever the law does not allow it."""
    return {
        f"{module} -> {other}"
        for module, others in imports().items()
        for other in others
        if room_of(other) != room_of(module) and room_of(other) not in allowed(room_of(module))
    }


def circles(graph: dict[str, set[str]]) -> set[str]:
    """The names on each circle of a graph, sorted and joined by spaces: its strongly connected components (Tarjan, 1972)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: set[str] = set()

    def visit(name: str) -> None:
        index[name] = lowest[name] = len(index)
        path.append(name)
        for other in graph.get(name, ()):
            if other not in index:
                visit(other)
            if other in path:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == index[name]:
            component = path[path.index(name) :]
            del path[path.index(name) :]
            if len(component) > 1:
                found.add(" ".join(sorted(component)))

    for name in graph:
        if name not in index:
            visit(name)
    return found


def duty(room: str) -> str:
    """The first line of the room's docstring; '' where it has none."""
    file = ROOT / room if room.endswith(".py") else ROOT / room / "__init__.py"
    return (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]


def page_part() -> str:
    """The rooms as Markdown, from the top of the house down."""
    lines = []
    for package in reversed(PACKAGES):
        lines += [f"### {package}/", "", "| room | duty | files | may import |", "| --- | --- | --- | --- |"]
        for room, modules in reversed(rooms().items()):
            if room.partition("/")[0] == package:
                lines.append(f"| `{room}` | {duty(room)} | {_files(room, modules)} | {_law(room)} |")
        lines.append("")
    return "\n".join(lines)


def _files(room: str, modules: list[str]) -> str:
    names = (files()[module].relative_to(ROOT / room).as_posix() for module in modules if not room.endswith(".py"))
    return ", ".join(f"`{name}`" for name in names if name != "__init__.py")


def _law(room: str) -> str:
    package = room.partition("/")[0]
    names = {"*": "all below", f"{package}/*": f"all of `{package}/` below"}
    words = (names.get(word, f"`{word.removeprefix(f'{package}/')}`") for word in MAY_IMPORT[room].split())
    return ", ".join(words) or "nothing"


def with_rooms(page: str) -> str:
    """A page with the part between its two marks written again."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise AssertionError(f"the page lacks the line {BEGIN!r} or {END!r}")
    return f"{before}{BEGIN}\n\n{page_part()}\n{END}{after}"


if __name__ == "__main__":
    to = Path(sys.argv[1])
    to.write_text(with_rooms(to.read_text()))
