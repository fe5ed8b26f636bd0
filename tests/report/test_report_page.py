"""The report page: what strangers wrote stays text, what was counted is said, and lines are where the numbers are."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import subprocess
import sys
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from factory.report.data import CalibrationPlot, CaptionCard, Doubt, Fact, Histogram, ImageCard, Rejected, ReportData
from factory.report.page import LONG_CHARACTERS, MOST_CHARACTERS, render_report

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><style>*{display:none}</style>",
    "</title></select></details></script><svg/onload=alert(1)>",
    "<!-- <base href='//evil.example/'>",
    "<a href='javascript:alert(1)'>x</a>",
    "&lt;script&gt;&amp;&#60;",
    "{{7*7}} {% include 'page.html.jinja' %} {# gone #}",
    "nul \x00<b> escape \x1b[31m bell \x07 return \r end",
    "photo\u202egpj.exe\u202c and \u2066isolated\u2069 and \u200f marks",
    "zero\u200bwidth \ufeff \u2028line \U000e0041tag",
    "undecodable \udcff name",
)
VOID = {"meta", "img", "input", "br", "wbr"}
LOADING = {"src", "href", "srcset", "action", "formaction", "poster", "data", "xlink:href", "background", "ping"}


class Page(HTMLParser):
    """A page as a parser sees it."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []  # innermost tag, text
        self.comments: list[str] = []
        self.unclosed: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"bdi", "wbr"}:
            self.texts.append(("", " "))
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.unclosed.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.unclosed[-1] if self.unclosed else "", data))

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """The attributes of each element with this tag and these words in these attributes."""
        return [
            found
            for name, found in self.elements
            if name == tag
            and all(word in (found.get(key.rstrip("_")) or "").split() for key, word in attributes.items())
        ]

    @property
    def text(self) -> str:
        """What a reader reads."""
        return " ".join("".join(text for tag, text in self.texts if tag not in {"script", "style", "title"}).split())

    def source(self, tag: str) -> str:
        return "".join(text for name, text in self.texts if name == tag)


@pytest.mark.parametrize("rest", ["", " and on and on" * 60], ids=["short", "long"])
def test_hostile_text_in_every_field_never_becomes_markup(rest):
    harmless = skeleton(Page(render_report(report_saying("harmless" + rest))))
    for hostile in HOSTILE:
        page = Page(render_report(report_saying(hostile + rest)))
        assert skeleton(page) == harmless, hostile
        assert page.comments == []
        assert page.unclosed == []


def test_hostile_text_is_shown_as_it_was_written():
    for hostile in HOSTILE[:9]:
        page = Page(render_report(report_saying(hostile)))
        shown = " ".join(hostile.split())
        assert page.text.count(shown) >= 20, hostile
        assert page.all("img")[0]["alt"] == f"Picture of {hostile}"


def test_characters_that_are_not_seen_are_spelled_out():
    for hostile in HOSTILE:
        html = render_report(report_saying(hostile))
        unseen = {mark for mark in html if unicodedata.category(mark) in {"Cc", "Cf", "Cs", "Zl", "Zp"}} - {"\n", "\t"}
        assert unseen == set(), hostile
        html.encode("utf-8")
    text = Page(render_report(report_saying(HOSTILE[10]))).text
    assert "photo[U+202E]gpj.exe[U+202C] and [U+2066]isolated[U+2069] and [U+200F] marks" in text
    assert "nul [U+0000]<b> escape [U+001B][31m" in Page(render_report(report_saying(HOSTILE[9]))).text


@pytest.mark.parametrize("text", ["שלום עולם", "می‌خواهم", "नमस्ते क्‍ष", "赤い円\nと四角", "👩‍🚀 in a suit", "e\u0301\tà"])
def test_writing_of_any_language_is_left_alone_and_isolated_from_its_neighbours(text):
    html = render_report(with_caption(caption(text=text)))
    assert f'<span class="said" dir="auto">{text}</span>' in html


def test_nothing_on_the_page_can_load_or_run_but_its_own_script():
    for data in (report_saying(HOSTILE[1]), report_saying(HOSTILE[1] * 40), report(), EMPTY):
        page = Page(render_report(data))
        assert len(page.all("script")) == len(page.all("style")) == 1
        forbidden = {"link", "iframe", "object", "embed", "base", "form", "audio", "video", "use", "foreignobject"}
        assert forbidden.isdisjoint(tag for tag, _ in page.elements)
        for tag, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
            for name in LOADING & attributes.keys():
                assert (attributes[name] or "").startswith(("#", "data:image/jpeg;base64,")), (tag, attributes)
        assert "://" not in page.source("script") + page.source("style")
        assert not re.search(r"url\(|@import|expression\(", page.source("style"))


def test_the_policy_allows_exactly_the_script_and_the_style_of_the_page():
    page = Page(render_report(report()))
    policies = [found["content"] for found in page.all("meta") if found.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    rules = dict(rule.strip().split(" ", 1) for rule in (policies[0] or "").split(";"))
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.source(kind).encode()).digest()).decode()
        assert rules.pop(f"{kind}-src") == f"'sha256-{digest}'"
    assert rules == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    # A policy does not bind what comes before it.
    assert [tag for tag, _ in page.elements[:4]] == ["html", "head", "meta", "meta"]


def test_jinja_is_not_imported_before_a_report_is_drawn():
    code = "import sys, factory.report.page; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


def test_counts_are_shown_with_their_shares():
    text = Page(render_report(report())).text
    for row in ("ok 900 90.0 %", "truncated 60 6.0 %", "quarantined 39 3.9 %", "cut short 1 0.1 %"):
        assert row in text
    assert "all rows of the source 1,000 100.0 %" in text
    assert "340 captions dropped" in text
    assert "length: score under 0.5 240 70.6 %" in text
    assert "images 1,000" in text
    assert "captions 1,960" in text
    assert "correct sentences after selection 93.4 %" in text
    assert "39 images could not be used." in text
    assert "The first 1 of them:" in text
    assert "1 of 1,000 images." in text


@pytest.mark.parametrize("counts", [(1, 1, 1), (1, 2, 3, 5, 7, 11, 13), (2, 0, 1), (999, 1), (5,), (333_333, 333_334)])
def test_percentages_add_up(counts):
    parts = tuple((f"state-{number}", count) for number, count in enumerate(counts))
    page = Page(render_report(replace(EMPTY, images=parts)))
    shares = re.findall(r"state-\d+ [\d,]+ ([\d.]+) %", page.text)
    assert len(shares) == len(counts)
    assert sum(round(float(share) * 10) for share in shares) == 1000


def test_a_state_of_one_image_in_millions_is_still_seen():
    page = Page(render_report(replace(EMPTY, images=(("ok", 9_999_999), ("failed", 1), ("truncated", 0)))))
    assert "failed 1 < 0.1 %" in page.text
    segments = [float((found["width"] or "").rstrip("%")) for found in page.all("rect") if found.get("x")]
    assert len(segments) == 2
    assert min(segments) >= 0.5
    assert math.isclose(sum(segments), 100, abs_tol=0.01)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.29, 0.35, 0.5, 0.7, 0.7001, 0.95, 1.0])
@pytest.mark.parametrize("bins", [10, 20, 7])
def test_the_threshold_is_drawn_where_it_is_and_parts_the_bars(bins, threshold):
    page = Page(render_report(with_histogram(tuple(range(1, bins + 1)), threshold)))
    axis = page.all("line", class_="axis")[0]
    left, right = number(axis["x1"]), number(axis["x2"])
    line = page.all("line", class_="threshold")[0]
    assert number(line["x1"]) == number(line["x2"])
    assert math.isclose(number(line["x1"]), left + threshold * (right - left), abs_tol=0.01)
    assert f"threshold {threshold:g}" in page.text

    bars = page.all("rect", class_="bar")
    for bar in bars:
        start, end = number(bar["x"]), number(bar["x"]) + number(bar["width"])
        if "below" in (bar["class"] or ""):
            assert end <= number(line["x1"]) + 0.01
        else:
            assert start >= number(line["x1"]) - 0.01
    assert math.isclose(sum(number(bar["width"]) for bar in bars), right - left, abs_tol=0.1)


def test_the_height_of_a_bar_is_the_square_root_of_its_count():
    page = Page(render_report(with_histogram((100, 0, 400, 1_000_000, 1), None)))
    heights = [number(bar["height"]) for bar in page.all("rect", class_="bar")]
    assert len(heights) == 4
    assert math.isclose(heights[2] / heights[1], 50, rel_tol=0.01)
    assert heights[0] == heights[3] == 2.0  # too small to be seen, and seen nevertheless
    assert "square root" in page.text
    assert not page.all("line", class_="threshold")


def test_the_lines_of_a_histogram_are_at_their_counts():
    page = Page(render_report(with_histogram((0, 250, 1000), None)))
    tops = {number(bar["height"]): number(bar["y"]) for bar in page.all("rect", class_="bar")}
    lines = sorted(number(line["y1"]) for line in page.all("line", class_="grid"))
    assert math.isclose(lines[0], tops[max(tops)], abs_tol=0.01)  # 1,000 is round, and the tallest bar
    assert "1,000" in page.text


def test_captions_below_a_threshold_are_counted_only_where_the_bins_tell():
    assert "10 scored, 4 unscored, 3 below 0.5" in Page(render_report(with_histogram((1, 2, 3, 4), 0.5))).text
    within_a_bin = Page(render_report(with_histogram((1, 2, 3, 4), 0.4))).text
    assert "10 scored, 4 unscored Counts" in within_a_bin
    assert "10 scored, 4 unscored, no threshold" in Page(render_report(with_histogram((1, 2, 3, 4), None))).text


def test_a_report_of_nothing_says_so():
    page = Page(render_report(EMPTY))
    for sentence in (
        "The source held no images.",
        "No view has made captions.",
        "The recipe has no filters.",
        "No captions were dropped.",
        "No images to show.",
        "No image was quarantined.",
    ):
        assert sentence in page.text
    assert not page.all("section", class_="truth")
    assert not page.all("section", class_="notes")


def test_parts_without_content_do_not_stop_a_report():
    card = ImageCard("bare", b"", None, ())
    bins = tuple(Histogram("length", "", counts, 0.5, 7) for counts in ((), (0, 0), (0, 0, 0)))
    failed = replace(card, captions=(caption(text="", status="failed", kept=False, reason=None, prompt="", scores=()),))
    data = replace(EMPTY, images=(("ok", 0),), gallery=(card, failed), histograms=bins, views=({}, {"name": "self"}))
    text = Page(render_report(data)).text
    assert "No caption has a score." in text
    assert "0 scored, 7 unscored" in text
    assert "No captions." in text
    assert "no text" in text
    assert "all rows of the source 0 -" in text


def test_captions_without_pictures_have_no_empty_boxes():
    card = ImageCard("bare", b"", "said before", (caption(),))
    assert "<img" not in render_report(replace(EMPTY, images=(("ok", 1),), gallery=(card,)))


def test_a_run_that_shows_all_its_images_begins_with_them():
    data = with_caption(caption())
    few, many = (render_report(replace(data, images=(("ok", count),))) for count in (1, 500))
    assert few.index('id="gallery"') < few.index('id="images"')
    assert many.index('id="images"') < many.index('id="gallery"')


def test_doubted_and_wrong_sentences_are_marked_where_they_are():
    text = "A cat. A dog. A hen. End"
    doubts = (Doubt(7, 13, "vqa", 0.2, None),)
    shown = render_report(with_caption(caption(text=text, doubts=doubts, wrong=((7, 13), (14, 20)))))
    assert 'class="doubt wrong" title="wrong, as the demo world knows">A dog.</mark>' in shown
    assert 'class=" wrong" title="wrong, as the demo world knows">A hen.</mark>' in shown
    assert text in Page(shown).text


def test_views_with_different_columns_share_one_table():
    page = Page(render_report(replace(EMPTY, views=({"name": "a", "words": "8.1"}, {"name": "b", "lora": "x"}))))
    assert "name words lora a 8.1 - b - x" in page.text
    heads = [found for found in page.all("th", scope="col") if "number" in (found.get("class") or "")]
    assert len(heads) == 1  # of the words


def test_a_caption_shows_its_verdict_reason_and_scores():
    dropped = caption(kept=False, reason="length: score under 0.5", scores=(("length", 0.25), ("refusal", None)))
    page = Page(render_report(replace(with_caption(dropped), histograms=(Histogram("length", "", (1, 1), 0.5, 0),))))
    assert [found["data-verdict"] for found in page.all("li", class_="caption")] == ["dropped"]
    assert "dropped self #0 length: score under 0.5" in page.text
    assert "length 0.25 refusal not scored" in page.text
    assert page.all("rect", class_="level")[0]["width"] == "25.0%"
    assert page.all("line", class_="mark")[0]["x1"] == "50.0%"
    assert len(page.all("li", class_="under")) == 1


@pytest.mark.parametrize(
    ("kept", "status", "badges"),
    [
        (True, "ok", ["kept"]),
        (True, "truncated", ["kept", "truncated"]),
        (False, "truncated", ["dropped", "truncated"]),
        (False, "failed", ["failed"]),
    ],
)
def test_badges_tell_verdict_and_status(kept, status, badges):
    html = render_report(with_caption(caption(kept=kept, status=status)))
    assert re.findall(r'<span class="badge [a-z]+">([^<]*)</span>', html) == badges


@pytest.mark.parametrize("score", [0.6991, 0.69999, 0.7 - 1e-12])
def test_a_score_below_its_threshold_never_reads_as_if_it_reached_it(score):
    data = replace(
        with_caption(caption(scores=(("length", score),))), histograms=(Histogram("length", "", (1,), 0.7, 0),)
    )
    assert "length 0.699" in Page(render_report(data)).text


def test_a_long_caption_is_folded_and_an_endless_one_cut():
    assert not Page(render_report(with_caption(caption(text="a" * LONG_CHARACTERS)))).all("details", class_="long")
    for text in ("word " * 200, "line\n" * 40):
        page = Page(render_report(with_caption(caption(text=text))))
        assert len(page.all("details", class_="long")) == 1
        assert " ".join(text.split()) in page.text
    html = render_report(with_caption(caption(text="x" * (MOST_CHARACTERS + 5_000_000))))
    assert len(html) < MOST_CHARACTERS + 60_000
    assert "5,000,000 more characters are left out here." in Page(html).text


def test_the_page_is_whole_without_its_script():
    page = Page(render_report(report()))
    hidden = [(tag, found.get("id")) for tag, found in page.elements if "hidden" in found]
    assert hidden == [("div", "tools")]  # the controls that only the script can serve


def test_headings_descend_one_level_at_a_time_and_pictures_and_tables_are_named():
    page = Page(render_report(report()))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(found.get("alt") for found in page.all("img"))
    assert all(found.get("scope") in {"col", "row"} for found in page.all("th"))
    assert all(found.get("aria-hidden") or found.get("aria-label") for found in page.all("svg"))
    identifiers = [found["id"] for _, found in page.elements if "id" in found]
    assert len(identifiers) == len(set(identifiers))
    for _, found in page.elements:
        assert (found.get("href") or "#images")[1:] in identifiers
        assert found.get("aria-labelledby", "images") in identifiers


def test_thumbnails_travel_with_the_page_byte_for_byte():
    source = Page(render_report(report())).all("img")[0]["src"] or ""
    assert base64.b64decode(source.removeprefix("data:image/jpeg;base64,")) == THUMBNAIL


def skeleton(page: Page) -> list[tuple[str, list[str], str | None]]:
    """What of a page must not depend on what strangers wrote."""
    return [
        (tag, sorted(attributes), attributes.get("class") or attributes.get("href") or attributes.get("id"))
        for tag, attributes in page.elements
    ]


def number(value: str | None) -> float:
    assert value is not None
    return float(value)


def jpeg() -> bytes:
    content = BytesIO()
    Image.new("RGB", (24, 16), (40, 90, 200)).save(content, "JPEG")
    return content.getvalue()


THUMBNAIL = jpeg()
EMPTY = ReportData("empty", (), (), (), (), (), (), (), ())
CAPTION = CaptionCard("self", 0, "A red circle.", "ok", True, None, "Describe the image.", (("length", 1.0),))


def test_the_speed_of_light_has_a_section_where_there_is_one() -> None:
    row = {"part": "start", "what": "until the engine was up", "share": "20.0%", "seconds": "3.0", "what to change": ""}
    page = render_report(replace(EMPTY, speed=(row,), speed_line="62% of the bare engine"))
    assert 'id="speed"' in page
    assert "62% of the bare engine" in page
    assert "until the engine was up" in page
    assert 'id="speed"' not in render_report(EMPTY)


def caption(**changes: Any) -> CaptionCard:
    return replace(CAPTION, **changes)


def with_caption(card: CaptionCard) -> ReportData:
    return replace(EMPTY, gallery=(ImageCard("image-1", THUMBNAIL, None, (card,)),))


def with_histogram(counts: tuple[int, ...], threshold: float | None) -> ReportData:
    return replace(EMPTY, histograms=(Histogram("length", "Too short or too long.", counts, threshold, 4),))


def report() -> ReportData:
    return ReportData(
        title="web-recaption",
        facts=(Fact("images", "1,000"), Fact("captions", "1,960")),
        images=(("ok", 900), ("truncated", 60), ("quarantined", 39), ("cut short", 1)),
        views=({"name": "self", "model": "demo:small", "captions": "980"},),
        reasons=(("length: score under 0.5", 240), ("not the best", 100)),
        histograms=(Histogram("length", "Too short or too long.", (5, 0, 20, 400), 0.5, 3),),
        gallery=(ImageCard("image-1", THUMBNAIL, "alt text", (CAPTION, caption(kept=False, reason="not the best"))),),
        quarantine=(Rejected("broken.jpg", "corrupt", "It cannot be decoded.", "broken data stream"),),
        quarantine_reasons=(("corrupt", 39),),
        truth=(Fact("correct sentences after selection", "93.4 %"),),
        recipe="name: web-recaption\n",
        notes=("1 source row could not be read.",),
    )


def report_saying(text: str) -> ReportData:
    """A report with this text in every field that can hold one."""
    card = CaptionCard(text, 0, text, text, False, text, text, ((text, 0.25), (text, None)))
    return ReportData(
        title=text,
        facts=(Fact(text, text),),
        images=((text, 3),),
        views=({text: text},),
        reasons=((text, 2),),
        histograms=(Histogram(text, text, (1, 2), 0.5, 0),),
        gallery=(ImageCard(text, THUMBNAIL, text, (card,)),),
        quarantine=(Rejected(text, text, text, text),),
        quarantine_reasons=((text, 1),),
        truth=(Fact(text, text),),
        recipe=text,
        notes=(text,),
        calibrations=(plot(reference=text, summary=text, strata=((text, "n"), (text, text)), warnings=(text,)),),
    )


def plot(**changes: Any) -> CalibrationPlot:
    points = ((0.25, 1.0, 0.8, 1.0), (0.5, 0.9, 0.8, 0.95), (1.0, 0.75, 0.7, 0.8))
    given = CalibrationPlot("calibration:x-v1", "x", points, 0.9, 0.95, (0.5, 0.9), (("stratum",), ("all",)))
    return replace(given, **changes)


def test_a_calibration_is_drawn_where_its_numbers_are():
    page = Page(render_report(replace(EMPTY, calibrations=(plot(),))))
    (curve,), (chosen,), (target,) = (
        page.all(tag, class_=name) for tag, name in (("polyline", "curve"), ("circle", "chosen"), ("line", "threshold"))
    )
    points = [tuple(map(float, point.split(","))) for point in (curve["points"] or "").split()]
    assert [round(x) for x, _ in points] == [138, 229, 412]  # a quarter, half and all of 46 to 412
    assert [y for _, y in points] == [14, 56, 119]  # 100, 90 and 75 % of an axis from 60 % at 182 to 100 % at 14
    assert (number(chosen["cx"]), number(chosen["cy"])) == points[1]
    assert number(target["y1"]) == points[1][1]
    assert "Calibration" not in Page(render_report(EMPTY)).text
    assert "no points" not in Page(render_report(replace(EMPTY, calibrations=(plot(points=(), chosen=None),)))).text


def test_captions_that_reach_a_threshold_of_one_are_not_drawn_below_it():
    data = replace(EMPTY, histograms=(Histogram("length", "x", (0, 1, 3), 1.0, 0, below=2),))
    page = Page(render_report(data))
    assert "4 scored, 0 unscored, 2 below 1" in page.text
    classes = [bar["class"] for bar in page.all("rect", class_="bar")]
    assert ["below" in name for name in classes] == [True, False]
