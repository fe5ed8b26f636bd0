"""The pages: what an address shows, and what a form changes. All texts of a run are untrusted; templates escape them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from factory.calibration.calibrate_run import calibrate_run
from factory.errors import FactoryError
from factory.review.access import Access
from factory.review.caption_index import CaptionIndex, Wanted, counted
from factory.review.caption_rows import captions_of
from factory.review.deciding import CaptionName, Deciding
from factory.review.labelling import VERDICTS, Labelling, annotator_name
from factory.review.live import live
from factory.review.picture_shelf import SIDES, PictureShelf
from factory.review.sampling import MOST
from factory.runs.by_people import CAPTION, SENTENCE
from filters import FilterError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE: Final = 24
"""Captions of a page."""
LABELS_WANTED: Final = 400
STATES: Final = ("kept", "dropped", "ok", "truncated", "failed", "edited", "accepted", "rejected")
UNITS: Final = (CAPTION, SENTENCE)
NAME_COOKIE: Final = "factory-review-name"


class Refused(Exception):
    """A request that makes no sense: a message for a person, and the status."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


class ReviewApp:
    """The app over one run."""

    def __init__(self, index: CaptionIndex, token: str, hosts: tuple[str, ...], read_only: bool = False) -> None:
        self.index = index
        self.read_only = read_only
        self.pictures = PictureShelf(index.work.recipe)
        self.labelling = Labelling(index)
        self.deciding = Deciding(index)
        self._pages = Environment(
            loader=PackageLoader("factory.review"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._pages.globals |= {"title": index.work.recipe.name, "read_only": read_only, "verdicts": VERDICTS}
        self._pages.filters["number"] = lambda value: f"{value:,}"
        self._pages.filters["query"] = lambda pairs: urlencode({name: value for name, value in pairs.items() if value})
        self.asgi = Starlette(
            routes=[
                Route("/", self._page(self.gallery)),
                Route("/image", self._page(self.image)),
                Route("/picture", self._page(self.picture)),
                Route("/label", self._page(self.label_start)),
                Route("/label/begin", self._page(self.label_begin), methods=["POST"]),
                Route("/label/{unit}", self._page(self.label)),
                Route("/label/{unit}/verdict", self._page(self.verdict), methods=["POST"]),
                Route("/label/{unit}/undo", self._page(self.undo), methods=["POST"]),
                Route("/calibrate", self._page(self.calibrate)),
                Route("/calibrate", self._page(self.calibrate_now), methods=["POST"]),
                Route("/decide", self._page(self.decide), methods=["POST"]),
                Route("/live", self._page(self.live)),
                Mount("/static", StaticFiles(packages=[("factory.review", "static")])),
            ],
            middleware=[Middleware(Access, token=token, hosts=hosts, read_only=read_only)],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        self.pictures.close()

    def _page(self, function: Callable[[Request, Mapping[str, str]], Response]) -> Callable[[Request], Any]:
        """A handler that reads the fields of the query or form, works in a thread, and says what is wrong as a page."""

        async def handler(request: Request) -> Response:
            raw = (
                request.url.query
                if request.method in ("GET", "HEAD")
                else (await request.body()).decode("utf-8", "replace")
            )
            try:
                fields = dict(parse_qsl(raw, keep_blank_values=True, max_num_fields=60))
                return await run_in_threadpool(partial(function, request, fields))
            except Refused as refused:
                return self._show("message", refused.status, heading="This does not work", text=refused.text)
            except (FactoryError, FilterError) as error:
                text = self._without_paths(str(error))
                return self._show("message", 409, heading="This does not work", text=text)
            except ValueError:
                return self._show(
                    "message", 400, heading="This does not work", text="The address or form has a wrong value."
                )

        return handler

    def _show(self, template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
        return HTMLResponse(self._pages.get_template(f"{template}.html.jinja").render(page=template, **values), status)

    def _without_paths(self, text: str) -> str:
        """A message without the directories of this machine."""
        storage = self.index.run.storage
        for path in sorted({storage.full(), storage.url}, key=len, reverse=True):
            text = text.replace(path, "the run")
        return text

    # --- looking ------------------------------------------------------------------------------------------------------

    def gallery(self, request: Request, fields: Mapping[str, str]) -> Response:
        """All captions, filtered and ordered, a page at a time."""
        wanted = self._wanted(fields)
        number = _whole(fields.get("page", ""), 1, 10**7, 1)
        places, total = self.index.page(wanted, (number - 1) * PAGE, PAGE)
        rows = self.index.rows()
        pages = max(1, math.ceil(total / PAGE))
        asked = {
            "words": wanted.words, "view": wanted.view, "state": wanted.state, "reason": wanted.reason, "score": wanted.score,
            "low": fields.get("low", "") if wanted.low is not None else "",
            "high": fields.get("high", "") if wanted.high is not None else "", "order": wanted.order,
        }  # fmt: skip
        return self._show(
            "gallery",
            captions=captions_of(self.index, places),
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
        )

    def image(self, request: Request, fields: Mapping[str, str]) -> Response:
        """All candidates of an image."""
        key = fields.get("key", "")
        found = captions_of(self.index, self.index.of_image(key), by_sentence=True)
        captions = [caption for caption in found if caption.image_key == key]
        if not captions:
            raise Refused("There is no caption of such an image.", 404)
        has_truth = any(piece.right is not None for caption in captions for piece in caption.pieces)
        return self._show(
            "image", key=key, captions=captions, shard=captions[0].shard, has_truth=has_truth, name=self._name(request)
        )

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
        return self._show("live", now=now, captions=captions_of(self.index, now.last))

    def _wanted(self, fields: Mapping[str, str]) -> Wanted:
        order = fields.get("order", "")
        state = fields.get("state", "")
        return Wanted(
            view=fields.get("view", ""),
            state=state if state in STATES else "",
            reason=fields.get("reason", ""),
            words=fields.get("words", "").strip()[:200],
            score=fields.get("score", "") if fields.get("score") in self.index.filters else "",
            low=_share(fields.get("low", "")),
            high=_share(fields.get("high", "")),
            order=order if order.removeprefix("-") in self.index.filters else "",
        )

    # --- labelling ----------------------------------------------------------------------------------------------------

    def label_start(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Who labels what, and how far everybody is."""
        return self._show(
            "label_start",
            name=self._name(request),
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
        count = _whole(fields.get("count", ""), 1, MOST, LABELS_WANTED)
        answer = RedirectResponse(f"/label/{unit}?count={count}", 303)
        answer.set_cookie(NAME_COOKIE, quote(name), max_age=365 * 24 * 3600, httponly=True, samesite="lax", path="/")
        return answer

    def label(self, request: Request, fields: Mapping[str, str]) -> Response:
        """The next caption or sentence without a verdict of this annotator."""
        unit = _unit(request.path_params["unit"])
        name = self._name(request)
        if not name:
            return RedirectResponse("/label", 303)
        count = _whole(fields.get("count", ""), 1, MOST, LABELS_WANTED)
        return self._show(
            "label",
            unit=unit,
            count=count,
            name=name,
            item=self.labelling.next_item(unit, count, name),
            progress=self.labelling.progress(unit, count, name),
        )

    def verdict(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Write a verdict down, and go to the next."""
        unit = _unit(request.path_params["unit"])
        name = self._named(request)
        count = _whole(fields.get("count", ""), 1, MOST, LABELS_WANTED)
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
        count = _whole(fields.get("count", ""), 1, MOST, LABELS_WANTED)
        self.labelling.undo(unit, self._named(request))
        return RedirectResponse(f"/label/{unit}?count={count}", 303)

    def calibrate(self, request: Request, fields: Mapping[str, str]) -> Response:
        """What can be calibrated with the labels there are."""
        return self._calibration_page(fields, None)

    def calibrate_now(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Run `factory calibrate` with the labels of this run."""
        unit = _unit(fields.get("unit", CAPTION))
        target = _share(fields.get("target", ""))
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
        lines = [self._without_paths(line) for line in made.lines()]
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
        name = annotator_name(fields.get("name", "")) or self._name(request)
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
        answer = RedirectResponse(f"/image?{urlencode({'key': caption.image_key})}", 303)
        answer.set_cookie(NAME_COOKIE, quote(name), max_age=365 * 24 * 3600, httponly=True, samesite="lax", path="/")
        return answer

    def _name(self, request: Request) -> str:
        return annotator_name(unquote(request.cookies.get(NAME_COOKIE, "")))

    def _named(self, request: Request) -> str:
        name = self._name(request)
        if not name:
            raise Refused("Say your name at the start page of labelling first.")
        return name


def _unit(text: str) -> str:
    if text not in UNITS:
        raise Refused("Labels are about captions or sentences.", 404)
    return text


def _whole(text: str, least: int, most: int, otherwise: int) -> int:
    if not text:
        return otherwise
    number = int(text) if text.isdecimal() and text.isascii() and len(text) < 12 else 0
    if not least <= number <= most:
        raise Refused(f"A whole number from {least:,} to {most:,} is needed.")
    return number


def _share(text: str) -> float | None:
    if not text.strip():
        return None
    number = float(text)
    if not math.isfinite(number):
        raise Refused("A score is a number from 0 to 1.")
    return number
