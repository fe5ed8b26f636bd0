"""What every page of the app shares: templates that escape, fields of queries and forms, messages, and people's names."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from factory.errors import FactoryError
from factory.review.labelling import annotator_name
from filters import FilterError

NAME_COOKIE: Final = "factory-review-name"
NAME_S: Final = 365 * 24 * 3600
_DIRECTORIES: Final = re.compile(r"(?<![\w:/.~])(?:file://|~|\.{1,2})?/(?:[^\s/:\"'<>()]+/)+")

Page = Callable[[Request, Mapping[str, str]], Response]
"""What answers a request with these fields."""


class Refused(Exception):
    """A request that makes no sense: a message for a person, and the status."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


class Pages:
    """Draws pages and guards handlers.

    `links`: address, word and the templates of each entry of the menu. `private`: directories that no page may name, and
    what is written instead. `read_only`: why nothing can be changed; '' where it can. `has_pictures`: whether there are
    images to show.
    """

    def __init__(
        self,
        title: str,
        links: Sequence[tuple[str, str, Sequence[str]]],
        private: Mapping[str, str],
        read_only: str = "",
        has_pictures: bool = True,
    ) -> None:
        self._private = private
        self._templates = Environment(
            loader=PackageLoader("factory.review"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {
            "title": title,
            "links": links,
            "read_only": read_only,
            "has_pictures": has_pictures,
        }
        self._templates.filters["number"] = lambda value: f"{value:,}"
        self._templates.filters["query"] = lambda pairs: urlencode({name: one for name, one in pairs.items() if one})

    def guarded(self, function: Page) -> Callable[[Request], Any]:
        """A handler that reads the fields of the query or form, works in a thread, and says what is wrong as a page."""

        async def handler(request: Request) -> Response:
            is_read = request.method in ("GET", "HEAD")
            raw = request.url.query if is_read else (await request.body()).decode("utf-8", "replace")
            try:
                fields = dict(parse_qsl(raw, keep_blank_values=True, max_num_fields=60))
                return await run_in_threadpool(partial(function, request, fields))
            except Refused as refused:
                return self._message(refused.text, refused.status)
            except (FactoryError, FilterError) as error:
                return self._message(without_directories(self.without_paths(str(error))), 409)
            except ValueError:
                return self._message("The address or form has a wrong value.", 400)

        return handler

    def show(self, template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
        """A page of `templates/`."""
        return HTMLResponse(
            self._templates.get_template(f"{template}.html.jinja").render(page=template, **values), status
        )

    def without_paths(self, text: str) -> str:
        """A message without the directories of this machine."""
        for path in sorted(filter(None, self._private), key=len, reverse=True):
            text = text.replace(path, self._private[path])
        return text

    @property
    def failures(self) -> dict[Any, Any]:
        """Handlers for addresses that there are not, and for a failure of the app itself."""
        return {404: self._not_there, 500: self._failed}

    async def _not_there(self, _: Request, __: Exception) -> Response:
        return self._message("There is no such page.", 404)

    async def _failed(self, _: Request, error: Exception) -> Response:
        return self._message(f"The app failed ({type(error).__name__}); what it was is where it was started.", 500)

    def _message(self, text: str, status: int) -> Response:
        return self.show("message", status, heading="This does not work", text=text)


def without_directories(text: str) -> str:
    """A text of other programs, such as the last words of an engine, with only the last part of every path of this machine."""
    return _DIRECTORIES.sub("", text)


def paths_of(settings: Any) -> dict[str, str]:
    """Every directory and file of this machine that settings name, and its last part, which may be shown."""
    if isinstance(settings, Mapping):
        settings = list(settings.values())
    if isinstance(settings, list):
        return {path: name for one in settings for path, name in paths_of(one).items()}
    if (
        not isinstance(settings, str)
        or not settings.startswith(("/", "~", "./", "../", "file://"))
        or len(settings) < 3
    ):
        return {}
    return {settings: settings.rstrip("/").rsplit("/", 1)[-1]}


def name_of(request: Request) -> str:
    """Who is asking, by the cookie; '' where nobody said."""
    return annotator_name(unquote(request.cookies.get(NAME_COOKIE, "")))


def named(request: Request) -> str:
    """Who is asking. Raises Refused where nobody said."""
    name = name_of(request)
    if not name:
        raise Refused("Say your name at the start page first.")
    return name


def remember_name(answer: Response, name: str) -> Response:
    """The answer, after which the browser says the name."""
    answer.set_cookie(NAME_COOKIE, quote(name), max_age=NAME_S, httponly=True, samesite="lax", path="/")
    return answer


def whole(text: str, least: int, most: int, otherwise: int) -> int:
    """A number that a field holds; `otherwise` where it is empty. Raises Refused for another."""
    if not text:
        return otherwise
    number = int(text) if text.isdecimal() and text.isascii() and len(text) < 12 else least - 1
    if not least <= number <= most:
        raise Refused(f"A whole number from {least:,} to {most:,} is needed.")
    return number


def share(text: str) -> float | None:
    """A finite number that a field holds; None where it is empty. Raises Refused, or ValueError for what is no number."""
    if not text.strip():
        return None
    number = float(text)
    if not math.isfinite(number):
        raise Refused("A score is a number from 0 to 1.")
    return number
