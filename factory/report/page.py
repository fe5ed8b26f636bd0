"""Draws a report: plain data in, one self-contained HTML page out.

Captions, prompts, keys and details come from models and strangers, so none of them may become markup or mislead the
eye. Three things see to it, and none has to be remembered where a value is used: the template escapes every expression,
`_shown` spells out control and bidirectional characters in every expression, and a Content-Security-Policy lets nothing
load or run but the page's own style and script, each named by its hash. The hashes refuse `style` attributes too: what
depends on data is drawn with SVG attributes.
"""

from __future__ import annotations

import base64
import hashlib
import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from factory.report.calibration_plot import AREA, draw_calibration
from factory.report.data import CaptionCard, Doubt, Histogram, ImageCard, ReportData

if TYPE_CHECKING:
    from markupsafe import Markup

LONG_CHARACTERS, LONG_LINES = 600, 12
"""A text beyond either is folded to its beginning."""
_HEAD_CHARACTERS, _HEAD_LINES = 400, 8
MOST_CHARACTERS = 20_000
"""More than this of one text is not put on the page: a model in a loop must not make it unopenable."""

PLOT_LEFT, PLOT_RIGHT, PLOT_TOP, PLOT_BOTTOM = 46.0, 412.0, 26.0, 168.0
"""The area of a histogram's bars in its 420 x 200 drawing; scores 0 and 1 are at its left and right edge."""
_LEAST_BAR = 2.0  # units of the drawing
_LEAST_SEGMENT = 0.6  # percent

_STATE_KINDS = {"ok": "ok", "truncated": "truncated", "failed": "failed", "quarantined": "quarantined"}
_OTHER_KINDS = ("other-a", "other-b", "other-c")


@dataclass(frozen=True, slots=True)
class Share:
    """One named part of a whole."""

    name: str
    count: int
    percent: str  # the parts' percentages add up to 100.0, if the whole is more than 0
    start: float  # where its bar starts and how wide it is, in percent of the width
    width: float
    kind: str = ""  # CSS class


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle of a histogram, in the units of its drawing."""

    x: float
    y: float
    width: float
    height: float
    below: bool  # its scores are under the threshold
    label: str
    low: float  # its scores, from and up to
    high: float


@dataclass(frozen=True, slots=True)
class HistogramDrawing:
    """A histogram, ready to be written as SVG."""

    filter: str
    summary: str
    scored: int
    unscored: int
    below: int | None  # captions under the threshold; None without one, or where it falls inside a filled bin
    threshold: str | None
    threshold_x: float | None
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, int], ...]  # height and count of the horizontal lines
    rows: tuple[tuple[str, int], ...]  # filled bins: range of scores, captions


@dataclass(frozen=True, slots=True)
class Meter:
    """One score of one caption."""

    filter: str
    value: str
    width: float | None  # percent; None: the filter could not judge the caption
    mark: float | None  # where the threshold is, percent
    below: bool


@dataclass(frozen=True, slots=True)
class Passage:
    """A text of any length: its beginning, and all of it where that is more."""

    head: str
    whole: str | None
    length: int
    left_out: int  # characters that are not on the page


def render_report(data: ReportData, captions_at: str = "") -> str:
    """The report as one HTML page that needs no network, no other file and no script to be read.

    `captions_at`: the address of the review app's gallery, where the page is shown by it: every bar and reason links to its captions.

    Every string of `data` may be hostile. The page can be encoded as UTF-8 whatever they hold, lone surrogates of
    undecodable file names included.
    """
    import jinja2  # slow to import, and no other command needs it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("factory.report", ""),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        base64=lambda content: base64.b64encode(content).decode("ascii"),
        count=lambda number: f"{number:,}",
        csp_hash=_csp_hash,
        passage=_passage,
        query=urlencode,
        pieces=_pieces,
        short=_short,
        verdict=_verdict,
    )
    thresholds = {histogram.filter: histogram.threshold for histogram in data.histograms}
    cards = [(image, [(caption, _meters(caption, thresholds)) for caption in image.captions]) for image in data.gallery]
    return environment.get_template("page.html.jinja").render(
        data=data,
        captions_at=captions_at,
        style=_own_text("page.css"),
        script=_own_text("page.js"),
        states=_stacked(data.images),
        reasons=_listed(data.reasons),
        quarantine_reasons=_listed(data.quarantine_reasons),
        view_columns=_columns(data.views),
        variety_columns=_columns(data.variety),
        judge_columns=_columns(data.judges),
        speed_columns=_columns(data.speed),
        histograms=[_draw(histogram) for histogram in data.histograms],
        plot={"left": PLOT_LEFT, "right": PLOT_RIGHT, "top": PLOT_TOP, "bottom": PLOT_BOTTOM},
        calibrations=[draw_calibration(calibration) for calibration in data.calibrations],
        area=AREA,
        cards=cards,
        begins_with_gallery=0 < sum(count for _, count in data.images) <= len(cards),  # as of a preview: all are here
        verdicts=_occurring(data.gallery, _verdict),
        gallery_reasons=_occurring(data.gallery, lambda caption: caption.reason),
    )


# Tab and newline are harmless on this page, the joiners spell words and emoji, and the marks that precede Arabic,
# Syriac and Kaithi numbers are format characters that are seen.
_HARMLESS = frozenset(
    "\t\n\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)


def _shown(value: object) -> object:
    """What Jinja escapes and writes for each expression: characters that cannot be seen are spelled out."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    text = value.replace("\r\n", "\n")
    return text.translate({ord(mark): f"[U+{ord(mark):04X}]" for mark in set(text) if _is_unseen(mark)})


def _is_unseen(character: str) -> bool:
    if character.isprintable() or character in _HARMLESS:
        return False
    code = ord(character)
    return (
        unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        or code & 0xFFFE == 0xFFFE  # the noncharacters
        or 0xFDD0 <= code <= 0xFDEF
    )


def _own_text(name: str) -> Markup:
    """A file of this folder, which goes onto the page as it is."""
    from markupsafe import Markup

    return Markup(resources.files("factory.report").joinpath(name).read_text())


def _csp_hash(content: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii") + "'"


def _passage(text: str) -> Passage:
    if len(text) <= LONG_CHARACTERS and text.count("\n") <= LONG_LINES:
        return Passage(text, None, len(text), 0)
    head = "\n".join(text[:_HEAD_CHARACTERS].split("\n")[:_HEAD_LINES])
    return Passage(head.rstrip(), text[:MOST_CHARACTERS], len(text), max(0, len(text) - MOST_CHARACTERS))


def _pieces(caption: CaptionCard) -> list[tuple[str, Doubt | None, bool]]:
    """The caption's text in pieces, each with the doubt about it and whether it is known to be wrong; together they are the text."""
    edges = {0, len(caption.text)}
    for first, last in (*((doubt.start, doubt.end) for doubt in caption.doubts), *caption.wrong):
        edges |= {min(first, len(caption.text)), min(last, len(caption.text))}
    places = sorted(edges)
    return [
        (
            caption.text[start:end],
            next((doubt for doubt in caption.doubts if doubt.start <= start and end <= doubt.end), None),
            any(first <= start and end <= last for first, last in caption.wrong),
        )
        for start, end in pairwise(places)
    ]


def _short(text: str, most: int = 160) -> str:
    """Cut in the middle: the two ends of a path say most."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-(most // 3) :]}"


def _columns(rows: Sequence[dict[str, str]]) -> list[tuple[str, bool]]:
    """Every column that a row has, in order, and whether it holds numbers."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [(name, all(row[name].lstrip("-")[:1].isdigit() for row in rows if row.get(name))) for name in names]


def _verdict(caption: CaptionCard) -> str:
    if caption.kept:
        return "kept"
    return "failed" if caption.status == "failed" else "dropped"


def _occurring(gallery: Sequence[ImageCard], part: Callable[[CaptionCard], str | None]) -> list[str]:
    return sorted({value for image in gallery for caption in image.captions if (value := part(caption))})


def _percentages(counts: Sequence[int]) -> list[str]:
    """Percentages with one decimal that add up to 100.0: largest remainders are rounded up."""
    total = sum(counts)
    if total == 0:
        return ["-"] * len(counts)
    tenths = [count * 1000 // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda part: counts[part] * 1000 % total, reverse=True)
    for part in by_remainder[: 1000 - sum(tenths)]:
        tenths[part] += 1
    return [
        "< 0.1 %" if count and not tenth else f"{tenth / 10:.1f} %" for count, tenth in zip(counts, tenths, strict=True)
    ]


def _stacked(parts: Sequence[tuple[str, int]]) -> list[Share]:
    """Parts side by side. Each that is not empty can be seen, at the cost of the others."""
    counts = [count for _, count in parts]
    total = sum(counts)
    widths = [max(_LEAST_SEGMENT, 100 * count / total) if count else 0.0 for count in counts]
    scale = 100 / sum(widths) if total else 0.0
    others = 0
    shares: list[Share] = []
    start = 0.0
    for (name, count), percent, width in zip(parts, _percentages(counts), widths, strict=True):
        kind = _STATE_KINDS.get(name)
        if kind is None:
            kind = _OTHER_KINDS[others % len(_OTHER_KINDS)]
            others += 1
        shares.append(Share(name, count, percent, round(start, 3), round(width * scale, 3), kind))
        start += width * scale
    return shares


def _listed(parts: Sequence[tuple[str, int]]) -> list[Share]:
    """Parts below each other, the largest as wide as there is room."""
    counts = [count for _, count in parts]
    most = max(counts, default=0)
    return [
        Share(name, count, percent, 0.0, round(100 * count / most, 3) if most else 0.0)
        for (name, count), percent in zip(parts, _percentages(counts), strict=True)
    ]


def _draw(histogram: Histogram) -> HistogramDrawing:
    """Bars whose height is the square root of their count: filters give most captions one score, and it is the few
    others that a threshold is about.
    """
    counts = histogram.counts
    bins, most = len(counts), max(counts, default=0)
    step = (PLOT_RIGHT - PLOT_LEFT) / max(1, bins)
    digits = 2 if bins and 100 % bins == 0 else 3
    cut = histogram.threshold
    # In bins, so that 0.7 of 20 is the edge 14 and not a sliver beside it.
    edge = None if cut is None else round(min(1.0, max(0.0, cut)) * bins, 6)
    # The last bin holds the scores of exactly 1 too, which reach a threshold of 1.
    top_reaches = edge == bins and histogram.below is not None and histogram.below < sum(counts)

    bars: list[Bar] = []
    rows: list[tuple[str, int]] = []
    for index, count in enumerate(counts):
        if not count:
            continue
        scores = f"{index / bins:.{digits}f} to {(index + 1) / bins:.{digits}f}"
        rows.append((scores, count))
        height = max(_LEAST_BAR, _height(count, most))
        whole = Bar(
            x=PLOT_LEFT + index * step,
            y=PLOT_BOTTOM - height,
            width=step,
            height=height,
            below=edge is not None and index < edge and not (index == bins - 1 and top_reaches),
            label=f"{scores}: {count:,} {'caption' if count == 1 else 'captions'}",
            low=round(index / bins, 6),
            high=round((index + 1) / bins, 6),
        )
        if edge is not None and index < edge < index + 1:
            left = (edge - index) * step
            bars += [replace(whole, width=left), replace(whole, x=whole.x + left, width=step - left, below=False)]
        else:
            bars.append(whole)

    return HistogramDrawing(
        filter=histogram.filter,
        summary=histogram.summary,
        scored=sum(counts),
        unscored=histogram.unscored,
        below=_below(histogram, edge),
        threshold=None if cut is None else f"{cut:g}",
        threshold_x=None if edge is None else PLOT_LEFT + edge * step,
        bars=tuple(bars),
        ticks=tuple((PLOT_BOTTOM - _height(count, most), count) for count in _ticks(most)),
        rows=tuple(rows),
    )


def _below(histogram: Histogram, edge: float | None) -> int | None:
    if edge is None or histogram.below is not None:
        return histogram.below
    splits_a_bin = not edge.is_integer() and histogram.counts[int(edge)] > 0
    return None if splits_a_bin else sum(histogram.counts[: math.ceil(edge)])


def _height(count: int, most: int) -> float:
    return math.sqrt(count / most) * (PLOT_BOTTOM - PLOT_TOP)


def _ticks(most: int) -> list[int]:
    """A few round counts up to the largest, apart from each other on a square-root scale."""
    return sorted({_round_down(most * part) for part in (0.07, 0.35, 1.0) if most * part >= 1})


def _round_down(number: float) -> int:
    """To 1, 2 or 5 times a power of ten; from 1."""
    power = int(10 ** math.floor(math.log10(number)))
    return next(digit * power for digit in (5, 2, 1) if digit * power <= number)


def _meters(caption: CaptionCard, thresholds: dict[str, float | None]) -> list[Meter]:
    return [_meter(name, score, thresholds.get(name)) for name, score in caption.scores]


def _meter(name: str, score: float | None, threshold: float | None) -> Meter:
    mark = None if threshold is None else round(100 * min(1.0, max(0.0, threshold)), 2)
    if score is None or math.isnan(score):
        return Meter(name, "not scored", None, mark, below=False)
    below = threshold is not None and score < threshold
    value = f"{score:.2f}"
    if threshold is not None and below and float(value) >= threshold:  # 0.6991 must not read as 0.70 below 0.7
        value = f"{math.floor(score * 1000) / 1000:.3f}"
    return Meter(name, value, round(100 * min(1.0, max(0.0, score)), 2), mark, below)
