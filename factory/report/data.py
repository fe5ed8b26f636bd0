"""What a report shows, as plain data: gathered by `collect.py`, drawn by `page.py`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Fact:
    """A labelled value of the header: "images" -> "512"."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """Scores of one filter in equal bins over [0, 1]."""

    filter: str
    summary: str  # one line: what the filter finds
    counts: tuple[int, ...]  # captions per bin, lowest scores first
    threshold: float | None  # the recipe's least score
    unscored: int  # captions with a null score
    below: int | None = None  # captions whose score is below the threshold, counted exactly; None: told from the bins


@dataclass(frozen=True, slots=True)
class Doubt:
    """A sentence that a filter doubts. `start` and `end` in characters of the caption, the end exclusive."""

    start: int
    end: int
    filter: str
    score: float  # the filter's, of this sentence
    asked: str | None  # untrusted: the question put to a judge, where there was one


@dataclass(frozen=True, slots=True)
class CaptionCard:
    """One candidate of one image, with its verdict."""

    view: str
    candidate: int
    text: str  # untrusted
    status: str  # ok | truncated | failed
    kept: bool
    reason: str | None  # why it was dropped or failed
    prompt: str  # untrusted: may hold the original text
    scores: tuple[tuple[str, float | None], ...]  # filter, score
    doubts: tuple[Doubt, ...] = ()  # in the order of the text, one a sentence
    wrong: tuple[tuple[int, int], ...] = ()  # demo world only: sentences that are not true, as characters from and to
    lineage: str = ""  # of a later try, or cut out of another candidate; begins with a comma


@dataclass(frozen=True, slots=True)
class ImageCard:
    """One image of the gallery."""

    key: str  # untrusted
    thumbnail: bytes  # JPEG
    original: str | None  # the source's own text, untrusted
    captions: tuple[CaptionCard, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """One row of the quarantine listing."""

    key: str  # untrusted
    reason: str
    explanation: str
    detail: str  # untrusted


@dataclass(frozen=True, slots=True)
class CalibrationPlot:
    """A calibration that the selection uses: precision over coverage as labelled captions show it. Shares in [0, 1]."""

    reference: str
    summary: str  # what it is about, and what its labels prove
    points: tuple[tuple[float, float, float, float], ...]  # coverage, precision, its interval; strictest first
    target: float
    confidence: float
    chosen: tuple[float, float] | None  # coverage and precision at the threshold
    strata: tuple[tuple[str, ...], ...]  # a table; its first row is the heading
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportData:
    """Everything on the page."""

    title: str
    facts: tuple[Fact, ...]  # header line: images, captions, seconds, images/s, engine, model, ...
    images: tuple[tuple[str, int], ...]  # state -> images; adds up to the source rows
    views: tuple[dict[str, str], ...]  # one row per view: name, model, captions, mean words, kept, ...
    reasons: tuple[tuple[str, int], ...]  # drop reason -> captions, most first
    histograms: tuple[Histogram, ...]
    gallery: tuple[ImageCard, ...]
    quarantine: tuple[Rejected, ...]
    quarantine_reasons: tuple[tuple[str, int], ...]
    truth: tuple[Fact, ...] = ()  # demo world only: share of correct sentences before and after
    recipe: str = ""  # YAML
    notes: tuple[str, ...] = field(default=())  # warnings worth reading
    calibrations: tuple[CalibrationPlot, ...] = ()
    judges: tuple[dict[str, str], ...] = ()  # one row for each judge, filter that it answers for, and kind of answer
    speed: tuple[dict[str, str], ...] = ()  # where the time of captioning went, one row a part
    speed_line: str = ""
    variety: tuple[dict[str, str], ...] = ()  # one row for all captions, one for those kept
