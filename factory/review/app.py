"""The pages: what an address shows, and what a form changes. All texts of a run are untrusted; templates escape them."""

from __future__ import annotations

import html
import json
import math
import threading
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from factory.calibration.calibrate_run import calibrate_run
from factory.review.access import Access
from factory.review.boxes import boxes_in, known_boxes
from factory.review.caption_index import CaptionIndex, Wanted, counted
from factory.review.caption_rows import captions_of
from factory.review.deciding import CaptionName, Deciding
from factory.review.labelling import Labelling, annotator_name
from factory.review.live import in_words, live, model_name
from factory.review.pages import (
    Pages,
    Refused,
    name_of,
    named,
    paths_of,
    remember_name,
    share,
    whole,
    without_directories,
)
from factory.review.picture_shelf import SIDES, PictureShelf
from factory.review.sampling import MOST
from factory.runs.by_people import CAPTION, SENTENCE
from factory.runs.run import METRICS
from factory.work.work import reopen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE: Final = 24
"""Captions of a page."""
LABELS_WANTED: Final = 400
STATES: Final = ("kept", "dropped", "ok", "truncated", "failed", "edited", "accepted", "rejected")
UNITS: Final = (CAPTION, SENTENCE)
LINKS: Final = (
    ("/", "Gallery", ("gallery", "image")),
    ("/label", "Label", ("label", "label_start")),
    ("/calibrate", "Calibrate", ("calibrate",)),
    ("/report", "Report", ("report",)),
    ("/live", "Live", ("live",)),
)


class ReviewApp:
    """The app over one run."""

    def __init__(self, index: CaptionIndex, token: str, hosts: tuple[str, ...], read_only: str = "") -> None:
        """`read_only`: why nothing can be changed; '' where it can."""
        self.index = index
        self.read_only = read_only
        self.pictures = PictureShelf(index.work.recipe)
        self.labelling = Labelling(index)
        self.deciding = Deciding(index)
        self._drawn: tuple[str, str] | None = None
        self._drawing = threading.Lock()
        storage = index.run.storage
        private = {
            storage.full(): "the run",
            storage.url: "the run",
            **paths_of(index.work.recipe.model_dump(mode="json")),
        }
        self.pages = Pages(index.work.recipe.name, LINKS, private, read_only, self.pictures.has_pictures)
        guarded, self._show = self.pages.guarded, self.pages.show
        self.asgi = Starlette(
            routes=[
                Route("/", guarded(self.gallery)),
                Route("/image", guarded(self.image)),
                Route("/picture", guarded(self.picture)),
                Route("/label", guarded(self.label_start)),
                Route("/label/begin", guarded(self.label_begin), methods=["POST"]),
                Route("/label/{unit}", guarded(self.label)),
                Route("/label/{unit}/verdict", guarded(self.verdict), methods=["POST"]),
                Route("/label/{unit}/undo", guarded(self.undo), methods=["POST"]),
                Route("/calibrate", guarded(self.calibrate)),
                Route("/calibrate", guarded(self.calibrate_now), methods=["POST"]),
                Route("/decide", guarded(self.decide), methods=["POST"]),
                Route("/live", guarded(self.live)),
                Route("/report", guarded(self.report)),
                Mount("/static", StaticFiles(packages=[("factory.review", "static")])),
            ],
            middleware=[Middleware(Access, token=token, hosts=hosts, read_only=read_only)],
            exception_handlers=self.pages.failures,
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        self.pictures.close()

    # --- looking ------------------------------------------------------------------------------------------------------

    def gallery(self, request: Request, fields: Mapping[str, str]) -> Response:
        """All captions, filtered and ordered, a page at a time."""
        wanted = self._wanted(fields)
        number = whole(fields.get("page", ""), 1, 10**7, 1)
        places, total = self.index.page(wanted, (number - 1) * PAGE, PAGE)
        pages = max(1, math.ceil(total / PAGE))
        if number > pages:  # of an address from before, when there were more
            number = pages
            places, total = self.index.page(wanted, (number - 1) * PAGE, PAGE)
        rows = self.index.rows()
        asked = self._asked(fields)
        captions = captions_of(self.index, places)
        self.pictures.want((caption.shard, caption.image_key) for caption in captions)
        return self._show(
            "gallery",
            first=(number - 1) * PAGE,
            captions=captions,
            asked=asked,
            total=total,
            all=rows.height,
            number=number,
            pages=pages,
            views=counted(rows, "view"),
            reasons=counted(rows, "reason"),
            kept=int(rows["kept"].sum() or 0),
            is_decided=bool(rows["kept"].count()),
            states=STATES,
            filters=self.index.filters,
            fields=self.index.fields,
        )

    def image(self, request: Request, fields: Mapping[str, str]) -> Response:
        """All candidates of an image."""
        key = fields.get("key", "")
        found = captions_of(self.index, self.index.of_image(key), by_sentence=True)
        captions = [caption for caption in found if caption.image_key == key]
        if not captions:
            raise Refused("There is no caption of such an image.", 404)
        boxes = [*(box for caption in captions for box in caption.boxes)]
        boxes += known_boxes(self.index, key, [caption.digest for caption in captions if caption.digest])
        shard = captions[0].shard
        sides = self.pictures.sides(shard, key) if boxes else None
        has_truth = any(piece.right is not None for caption in captions for piece in caption.pieces)
        return self._show(
            "image",
            key=key,
            captions=captions,
            shard=shard,
            has_truth=has_truth,
            name=name_of(request),
            back=f"/image?{request.url.query}",
            boxes=list(dict.fromkeys(boxes)),
            sides=sides,
            **self._neighbours(fields),
        )

    def _neighbours(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Addresses of the captions before and after this one in the gallery that it was opened from, and of that gallery; '' for none."""
        place = whole(fields.get("place", ""), 0, 10**9, 0) if "place" in fields else None
        asked = self._asked(fields)
        if place is None:
            return {"before": "", "after": "", "gallery": "/"}
        start = max(0, place - 1)
        places, _ = self.index.page(self._wanted(fields), start, place + 2 - start)
        keys = [caption.image_key for caption in captions_of(self.index, places)]
        at = place - start

        def address(offset: int) -> str:
            there = 0 <= at + offset < len(keys)
            query = {"key": keys[at + offset], **asked, "place": str(place + offset)} if there else {}
            return f"/image?{urlencode({name: one for name, one in query.items() if one})}" if there else ""

        gallery = urlencode({name: one for name, one in {**asked, "page": str(place // PAGE + 1)}.items() if one})
        return {"before": address(-1), "after": address(1), "gallery": f"/?{gallery}"}

    def picture(self, request: Request, fields: Mapping[str, str]) -> Response:
        """The picture of an image, small or large."""
        size = fields.get("size", "small")
        if size not in SIDES:
            raise Refused("No such size.")
        data = self.pictures.picture(fields.get("shard", ""), fields.get("key", ""), size)
        if data is None:
            return PlainTextResponse("no picture", 404)
        return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    def live(self, request: Request, fields: Mapping[str, str]) -> Response:
        """How far the run is, and what it wrote last."""
        now = live(self.index)
        captions = captions_of(self.index, now.last)
        warnings = [without_directories(self.pages.without_paths(warning)) for warning in now.warnings]
        return self._show(
            "live", now=now, warnings=warnings, captions=captions, in_words=in_words, model_name=model_name
        )

    def report(self, request: Request, fields: Mapping[str, str]) -> Response:
        """The run's report, drawn anew where the run went on; its bars and reasons link to their captions."""
        from factory.report.collect import collect, render  # which loads more than all other pages

        metrics = self.index.run.read_json(METRICS)
        if metrics is None:
            raise Refused("The run has not finished once, so it has no report; see how far it is: Live.", 404)
        sign = json.dumps(metrics, sort_keys=True)
        with self._drawing:
            if self._drawn is None or self._drawn[0] != sign:
                data = replace(
                    collect(reopen(self.index.run), metrics), recipe=""
                )  # which names directories of the server
                self._drawn = sign, self.pages.without_paths(render(data, "/").decode())
        page = self._drawn[1]
        policy = html.unescape(page.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0])
        headers = {"content-security-policy": f"{policy}; frame-ancestors 'none'"}
        return Response(page, media_type="text/html", headers=headers)

    def _asked(self, fields: Mapping[str, str]) -> dict[str, str]:
        """What is wanted as fields of an address."""
        wanted = self._wanted(fields)
        return {
            "words": wanted.words, "view": wanted.view, "state": wanted.state, "reason": wanted.reason, "score": wanted.score,
            "low": fields.get("low", "") if wanted.low is not None else "",
            "high": fields.get("high", "") if wanted.high is not None else "", "order": wanted.order,
            "field": wanted.field if wanted.value else "", "value": wanted.value,
        }  # fmt: skip

    def _wanted(self, fields: Mapping[str, str]) -> Wanted:
        order = fields.get("order", "")
        state = fields.get("state", "")
        return Wanted(
            view=fields.get("view", ""),
            state=state if state in STATES else "",
            reason=fields.get("reason", ""),
            words=fields.get("words", "").strip()[:200],
            score=fields.get("score", "") if fields.get("score") in self.index.filters else "",
            low=share(fields.get("low", "")),
            high=share(fields.get("high", "")),
            field=fields.get("field", "") if fields.get("field") in self.index.fields else "",
            value=fields.get("value", "").strip()[:200],
            order=order if order.removeprefix("-") in self.index.filters else "",
        )

    # --- labelling ----------------------------------------------------------------------------------------------------

    def label_start(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Who labels what, and how far everybody is."""
        return self._show(
            "label_start",
            name=name_of(request),
            annotators=self.labelling.annotators(),
            pairs=self.labelling.pairs(),
            count=LABELS_WANTED,
            most=MOST,
        )

    def label_begin(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Remember the name, and go to the first caption."""
        name = annotator_name(fields.get("name", ""))
        if not name:
            raise Refused("Write your name, so that labels say whose they are.")
        unit = _unit(fields.get("unit", CAPTION))
        count = whole(fields.get("count", ""), 1, MOST, LABELS_WANTED)
        answer = RedirectResponse(f"/label/{unit}?count={count}", 303)
        return remember_name(answer, name)

    def label(self, request: Request, fields: Mapping[str, str]) -> Response:
        """The next caption or sentence without a verdict of this annotator."""
        unit = _unit(request.path_params["unit"])
        name = name_of(request)
        if not name:
            return RedirectResponse("/label", 303)
        count = whole(fields.get("count", ""), 1, MOST, LABELS_WANTED)
        item = self.labelling.next_item(unit, count, name)
        boxes = boxes_in(item["text"]) if item is not None else ()
        return self._show(
            "label",
            unit=unit,
            count=count,
            name=name,
            item=item,
            boxes=boxes,
            sides=self.pictures.sides(item["shard"], item["image_key"]) if item is not None and boxes else None,
            progress=self.labelling.progress(unit, count, name),
            needed=self.labelling.needed(unit, count),
        )

    def verdict(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Write a verdict down, and go to the next."""
        unit = _unit(request.path_params["unit"])
        name = named(request)
        count = whole(fields.get("count", ""), 1, MOST, LABELS_WANTED)
        start = fields.get("start", "")
        item = {
            "image_key": fields.get("image_key", ""),
            "view": fields.get("view", ""),
            "candidate": int(fields.get("candidate", "")),
            "fingerprint": fields.get("fingerprint", ""),
            "start": int(start) if start else None,
        }
        if not self.labelling.label(unit, count, name, item, fields.get("verdict", "")):
            raise Refused(
                "This caption is not in the sample any more, or the verdict is none; go on at the start page.", 409
            )
        return RedirectResponse(f"/label/{unit}?count={count}", 303)

    def undo(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Take the last verdict back; its caption comes again."""
        unit = _unit(request.path_params["unit"])
        count = whole(fields.get("count", ""), 1, MOST, LABELS_WANTED)
        self.labelling.undo(unit, named(request))
        return RedirectResponse(f"/label/{unit}?count={count}", 303)

    def calibrate(self, request: Request, fields: Mapping[str, str]) -> Response:
        """What can be calibrated with the labels there are."""
        return self._calibration_page(fields, None)

    def calibrate_now(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Run `factory calibrate` with the labels of this run."""
        unit = _unit(fields.get("unit", CAPTION))
        target = share(fields.get("target", ""))
        if target is None or not 0 < target < 1:
            raise Refused("The share that must be right is a number between 0 and 1, such as 0.9.")
        chosen = fields.get("filter", "")
        is_filter = chosen in self.index.filters
        made = calibrate_run(
            self.index.run,
            f"review:{unit}",
            target,
            filter_name=chosen if is_filter else None,
            stack="logistic" if chosen == "(stack)" else None,
        )
        lines = [self.pages.without_paths(line) for line in made.lines()]
        return self._calibration_page(fields, lines)

    def _calibration_page(self, fields: Mapping[str, str], lines: list[str] | None) -> Response:
        return self._show(
            "calibrate",
            lines=lines,
            filters=self.index.filters,
            annotators=self.labelling.annotators(),
            unit=fields.get("unit", CAPTION),
            target=fields.get("target", "0.9"),
            chosen=fields.get("filter", ""),
        )

    # --- deciding -----------------------------------------------------------------------------------------------------

    def decide(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Accept, reject, edit, or take back."""
        name = annotator_name(fields.get("name", "")) or name_of(request)
        if not name:
            raise Refused("Write your name, so that decisions say whose they are.")
        caption = CaptionName(
            fields.get("image_key", ""),
            fields.get("view", ""),
            int(fields.get("candidate", "")),
            fields.get("fingerprint", ""),
        )
        decision = fields.get("decision", "")
        if decision == "edited":
            self.deciding.edit(caption, fields.get("text", ""), name)
        elif decision in ("accepted", "rejected", "undone"):
            self.deciding.decide(caption, decision, name)
        else:
            raise Refused("No such decision.")
        back = fields.get("back", "")
        answer = RedirectResponse(
            back if back.startswith("/image?") else f"/image?{urlencode({'key': caption.image_key})}", 303
        )
        return remember_name(answer, name)


def _unit(text: str) -> str:
    if text not in UNITS:
        raise Refused("Labels are about captions or sentences.", 404)
    return text
