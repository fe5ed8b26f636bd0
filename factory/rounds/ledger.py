"""The ledger of a loop: what every round was made from, what it cost, how it was judged, and the verdict. Append-only."""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from exports.storage import Storage
from factory.comparison.verdicts import QUESTIONS, Rate, people_on_rounds
from factory.errors import RunError
from factory.models.round_model import LEDGER as FILE
from factory.runs.run import Run

PAGE: Final = "rounds.html"
VERDICTS: Final = ("first", "better", "saturated", "worse", "refused")
"""first: the first captioner. better: it captions next. saturated: it captions next, and the loop ends. worse, refused: its parent
stays the captioner, and the loop ends."""


class Ledger:
    """The entries of a loop in `<folder>/rounds.json`, one a round, in their order; each is written once, whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entries(self) -> list[dict[str, Any]]:
        """What is written. Raises RunError where the file is damaged."""
        try:
            content = json.loads((self.folder / FILE).read_text())
        except FileNotFoundError:
            return []
        except ValueError as error:
            raise RunError(
                f"{self.folder / FILE} is damaged ({error}); move it away: what is there is found again"
            ) from None
        return list(content["rounds"])

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add a round and draw the page."""
        self._write([*self.entries(), dict(entry)])

    def keep(self, count: int) -> list[dict[str, Any]]:
        """Set aside all but the first rounds, when the loop file changed. Returns what was set aside, kept in a file of its own."""
        entries = self.entries()
        aside = entries[count:]
        if aside:
            number = len(list(self.folder.glob("rounds-before-*.json"))) + 1
            _replace(self.folder / f"rounds-before-{number}.json", json.dumps({"rounds": aside}, indent=1))
            self._write(entries[:count])
        return aside

    def _write(self, entries: list[dict[str, Any]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        _replace(self.folder / FILE, json.dumps({"version": 1, "rounds": entries}, indent=1, sort_keys=True) + "\n")
        self._draw(entries)

    def people(self) -> People:
        """What people said of rounds beside each other."""
        return people_on_rounds(Run(Storage(str(self.folder))))

    def draw(self) -> None:
        """Draw the page again, with what people said since."""
        self._draw(self.entries())

    def _draw(self, entries: list[dict[str, Any]]) -> None:
        _replace(self.folder / PAGE, page(entries, self.folder.name, self.people()))


def captioner_of(entries: Sequence[Mapping[str, Any]]) -> str | None:
    """The model that captions next: that of the last round which was not refused or worse."""
    standing = [entry for entry in entries if entry["verdict"]["word"] not in ("worse", "refused")]
    return str(standing[-1]["model"]) if standing else None


# --- in words -----------------------------------------------------------------------------------------------------------


People = Mapping[tuple[int, int], Mapping[str, Rate]]
"""(later, earlier round) -> question -> how often people preferred the later one: `factory compare LOOP#N LOOP#M`."""


def table(entries: Sequence[Mapping[str, Any]], people: People = MappingProxyType({})) -> Iterator[str]:
    """The ledger for a terminal: a line for every arm of every round, and what judge and people prefer."""
    yield f"{'round':>5} {'arm':16} {'worth (95 %)':24} {'facts told':>10} {'kept':>7} {'steps':>7} {'gain over parent (95 %)':26} verdict"
    for entry in entries:
        for name, arm in _arms(entry):
            figures = arm["evaluation"]
            told = figures.get("recall", {}).get("mean")
            gain = arm.get("gain")
            yield (
                f"{entry['round']:>5} {name[:16]:16} {_interval(figures['worth']):24} {_number(told):>10} "
                f"{_share(arm.get('kept')):>7} {arm['compute']['steps']:>7,} {_interval(gain) if gain else '-':26} "
                + (f"{entry['verdict']['word']}: {entry['verdict']['why']}" if name == "main" else "")
            ).rstrip()
        for other, rates in entry.get("wins", {}).items():
            told = ", ".join(f"{rubric} {_interval(rate)}" for rubric, rate in rates.items()) or "the same captions"
            yield f"{entry['round']:>5} main wins over round {other}: {told}"
        for other, told in _people(entry["round"], people):
            yield f"{entry['round']:>5} main, people over round {other}: {told}"
        if not entry["arms"]:
            yield f"{entry['round']:>5} {'-':16} {'':24} {'':>10} {'':>7} {'':>7} {'':26} {entry['verdict']['word']}: {entry['verdict']['why']}"


def _people(number: int, people: People) -> Iterator[tuple[int, str]]:
    """Earlier round, and in words how often people preferred this one to it."""
    for (later, earlier), said in people.items():
        if later == number:
            words = (
                f"{QUESTIONS[name]} {rate.words} of {rate.a + rate.b:,}, {rate.tie:,} ties"
                for name, rate in said.items()
            )
            yield earlier, "; ".join(words)


def _arms(entry: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The arms, that of the round itself first."""
    return sorted(entry["arms"].items(), key=lambda one: (one[0] != "main", one[0]))


def _interval(value: Mapping[str, Any]) -> str:
    if value.get("low") is None:
        return _number(value["mean"])
    return f"{_number(value['mean'])} ({_number(value['low'])} to {_number(value['high'])})"


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


# --- as a page ----------------------------------------------------------------------------------------------------------

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #5a5a5a; --line: #0b62a4; --rule: #d0d0d0; --back: #fff }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --soft: #b5b5b5; --line: #7ab8f0; --rule: #444; --back: #161616 } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); max-width: 84rem; margin: 2rem auto; padding: 0 1rem }
td:nth-child(3), td:nth-child(10) { white-space: nowrap }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums } .wide { overflow-x: auto }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--rule); vertical-align: top } th { color: var(--soft) }
svg { width: 100%; max-width: 44rem; height: auto } svg text { fill: var(--soft); font-size: 12px } .main td { font-weight: 600 }
"""


def page(entries: Sequence[Mapping[str, Any]], name: str, people: People = MappingProxyType({})) -> str:
    """The ledger as a page of its own: a curve of worth by round, and the table. Every text in it is escaped."""
    rows = []
    for entry in entries:
        for arm_name, arm in _arms(entry):
            figures = arm["evaluation"]
            cells = [
                str(entry["round"]),
                arm_name,
                _interval(figures["worth"]),
                _number(figures.get("recall", {}).get("mean")),
                _number(figures.get("words_mean")),
                _number(figures.get("distinct_2")),
                _share(arm.get("kept")),
                f"{arm['compute']['steps']:,}",
                f"{arm['compute']['seconds']:,.0f}",
                _interval(arm["gain"]) if arm.get("gain") else "-",
                f"{entry['verdict']['word']}: {entry['verdict']['why']}" if arm_name == "main" else "",
            ]
            body = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
            rows.append(f"<tr{' class=main' if arm_name == 'main' else ''}>{body}</tr>")
        for other, rates in entry.get("wins", {}).items():
            told = ", ".join(f"{rubric} {_interval(rate)}" for rubric, rate in rates.items()) or "the same captions"
            cell = html.escape(f"Win rate over round {other}: {told}")
            rows.append(f"<tr><td>{entry['round']}</td><td>main</td><td colspan=9>{cell}</td></tr>")
        for earlier, told in _people(entry["round"], people):
            cell = html.escape(f"People, over round {earlier}: {told}")
            rows.append(f"<tr><td>{entry['round']}</td><td>main</td><td colspan=9>{cell}</td></tr>")
        if not entry["arms"]:
            why = html.escape(f"{entry['verdict']['word']}: {entry['verdict']['why']}")
            rows.append(f"<tr><td>{entry['round']}</td><td colspan=9></td><td>{why}</td></tr>")
    names = ("round", "arm", "worth (95 %)", "facts told", "words", "distinct pairs", "kept", "steps", "seconds")
    head = "".join(f"<th>{one}</th>" for one in (*names, "gain over parent", "verdict"))
    title = html.escape(name)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Rounds of {title}</title><style>{_STYLE}</style><h1>Rounds of {title}</h1>{_curve(entries)}"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        "<p>Worth: on the demo world the share of a caption's sentences that are right, else the filter that the loop "
        "names; an image counts once. Gain: the mean difference on the same images.</p></html>\n"
    )


def _curve(entries: Sequence[Mapping[str, Any]]) -> str:
    points = [
        (entry["round"], arm["evaluation"]["worth"], name)
        for entry in entries
        for name, arm in entry["arms"].items()
        if arm["evaluation"]["worth"]["mean"] is not None
    ]
    if not points:
        return ""
    low = min(value["low"] if value["low"] is not None else value["mean"] for _, value, _ in points)
    high = max(value["high"] if value["high"] is not None else value["mean"] for _, value, _ in points)
    span, last = max(high - low, 0.01), max(1, *(number for number, _, _ in points))

    def x(number: int) -> float:
        return float(60 + 560 * number / last)

    def y(value: float) -> float:
        return float(20 + 200 * (high - value) / span)

    line = " ".join(f"{x(number):.1f},{y(value['mean']):.1f}" for number, value, name in points if name == "main")
    parts = [
        f'<line x1="60" x2="620" y1="{y(at):.1f}" y2="{y(at):.1f}" stroke="var(--rule)"/>'
        f'<text x="8" y="{y(at) + 4:.1f}">{at:.3f}</text>'
        for at in (low, (low + high) / 2, high)
    ]
    parts += [
        f'<text x="{x(number) - 24:.1f}" y="245">round {number}</text>' for number in {one for one, _, _ in points}
    ]
    parts.append(f'<polyline points="{line}" fill="none" stroke="var(--line)" stroke-width="2"/>')
    for number, value, name in points:
        colour = "var(--line)" if name == "main" else "var(--soft)"
        if value["low"] is not None:
            parts.append(
                f'<line x1="{x(number):.1f}" x2="{x(number):.1f}" y1="{y(value["low"]):.1f}" y2="{y(value["high"]):.1f}" '
                f'stroke="{colour}"/>'
            )
        label = html.escape(f"{name}: {_interval(value)}")
        parts.append(
            f'<circle cx="{x(number):.1f}" cy="{y(value["mean"]):.1f}" r="4" fill="{colour}"><title>{label}</title></circle>'
        )
    words = f"Worth by round, from {low:.3f} to {high:.3f}"
    return f'<svg viewBox="0 0 660 255" role="img" aria-label="{words}">{"".join(parts)}</svg>'


def _replace(file: Path, text: str) -> None:
    building = file.with_name(f".{file.name}.{os.getpid()}")
    with building.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(building, file)
