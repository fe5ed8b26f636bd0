"""The pages of a blind comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from factory.comparison.verdicts import QUESTIONS, Rate, rates
from factory.review.access import Access
from factory.review.comparing import Comparison
from factory.review.labelling import annotator_name
from factory.review.pages import Pages, Refused, name_of, named, remember_name
from factory.review.picture_shelf import SIDES, PictureShelf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LINKS: Final = (("/", "Compare", ("compare", "compare_start")), ("/results", "Results", ("results",)))


class CompareApp:
    """The app over one comparison. `blind`: no page of a pair says which side a caption is of."""

    def __init__(
        self,
        comparison: Comparison,
        token: str,
        hosts: tuple[str, ...],
        blind: bool = True,
        hours: tuple[float | None, float | None] = (None, None),
    ) -> None:
        """`hours`: what an hour of a person, and of the judge's machine, costs."""
        self.comparison = comparison
        self.blind = blind
        self.hours = hours
        sides = comparison.sides.values()
        self._shelves = {
            name: PictureShelf(side.work.recipe) if side.work else None for name, side in comparison.sides.items()
        }
        private = {
            path: "the run" for side in sides if side.work for path in (side.work.run.storage.full(), side.work.run.url)
        }
        has_pictures = any(side.has_pictures for side in sides)
        self.pages = Pages("comparison", LINKS, private, has_pictures=has_pictures)
        guarded, self._show = self.pages.guarded, self.pages.show
        self.asgi = Starlette(
            routes=[
                Route("/", guarded(self.pair)),
                Route("/begin", guarded(self.begin), methods=["POST"]),
                Route("/answer", guarded(self.answer), methods=["POST"]),
                Route("/undo", guarded(self.undo), methods=["POST"]),
                Route("/results", guarded(self.results)),
                Route("/picture", guarded(self.picture)),
                Mount("/static", StaticFiles(packages=[("factory.review", "static")])),
            ],
            middleware=[Middleware(Access, token=token, hosts=hosts, read_only="")],
            exception_handlers=self.pages.failures,
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        for shelf in self._shelves.values():
            if shelf is not None:
                shelf.close()

    def pair(self, request: Request, fields: Mapping[str, str]) -> Response:
        """The next pair and question."""
        name = name_of(request)
        if not name:
            return self._show(
                "compare_start", pairs=self.comparison.pairs.height, same=self.comparison.same, blind=self.blind
            )
        done, total = self.comparison.done(name)
        pair = self.comparison.next_pair(name)
        shown = self._names()
        words = "" if pair is None else QUESTIONS[pair["question"]]
        return self._show(
            "compare", pair=pair, done=done, total=total, name=name, words=words, sides=shown, blind=self.blind
        )

    def begin(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Remember the name."""
        name = annotator_name(fields.get("name", ""))
        if not name:
            raise Refused("Write your name, so that answers say whose they are.")
        return remember_name(RedirectResponse("/", 303), name)

    def answer(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Write an answer down, and go to the next."""
        given = (fields.get("image_key", ""), fields.get("question", ""), fields.get("chosen", ""))
        if not self.comparison.answer(named(request), *given):
            raise Refused("This pair is not in the draw, or the answer is none; go on at the first page.", 409)
        return RedirectResponse("/", 303)

    def undo(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Take the last answer back."""
        self.comparison.undo(named(request))
        return RedirectResponse("/", 303)

    def results(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Win rates so far, with the names: of people and of the judge, by stratum, their agreement, and what both cost."""
        names = self._names()
        judge = self.comparison.judge
        voices = [("people", self.comparison.answers())]
        if judge is not None:
            voices.append((judge.name, judge.verdicts))
        return self._show(
            "results",
            voices=[(who, rates(verdicts)) for who, verdicts in voices if verdicts.height],
            parted=_side_by_side(
                [(who, self.comparison.rates_by(verdicts)) for who, verdicts in voices if verdicts.height]
            ),
            questions=QUESTIONS,
            sides=names,
            pairs=self.comparison.pairs.height,
            judge=judge,
            agreements=self.comparison.agreements(),
            costs=[one for one in self.comparison.costs(*self.hours) if one["seconds_per_1000"] is not None],
        )

    def _names(self) -> dict[str, str]:
        """Of the sides: as little of a path as tells them apart, since a directory of this machine is no business of a page."""
        whole = {side: one.name.rstrip("/").split("/") for side, one in self.comparison.sides.items()}
        short = {side: parts[-1] for side, parts in whole.items()}
        if len(set(short.values())) == len(short):
            return short
        return {side: "/".join(parts[-2:]) for side, parts in whole.items()}

    def picture(self, request: Request, fields: Mapping[str, str]) -> Response:
        """The image of a pair, from whichever side has it."""
        size = fields.get("size", "large")
        if size not in SIDES:
            raise Refused("No such size.")
        key = fields.get("key", "")
        for name, side in self.comparison.sides.items():
            shards = dict(side.texts.filter(side.texts["image_key"] == key).select("image_key", "shard").iter_rows())
            data = side.picture(self._shelves[name], shards[key], key, size) if key in shards else None
            if data is not None:
                return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})
        return PlainTextResponse("no picture", 404)


def _side_by_side(
    voices: Sequence[tuple[str, Mapping[str, Mapping[str, list[Rate]]]]],
) -> dict[str, list[tuple[str, list[tuple[str, list[Rate]]]]]]:
    """Name -> its strata, each with the rates of whoever said something of it."""
    found: dict[str, dict[str, list[tuple[str, list[Rate]]]]] = {}
    for who, names in voices:
        for name, parts in names.items():
            for stratum, of in parts.items():
                if any(rate.a + rate.b + rate.tie for rate in of):
                    found.setdefault(name, {}).setdefault(stratum, []).append((who, of))
    return {name: list(parts.items()) for name, parts in found.items()}
