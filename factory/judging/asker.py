"""Asks an engine the questions of VLM filters about one image, and watches whether the judge can answer at all."""

from __future__ import annotations

import asyncio
import math
import random
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from factory.engines.contract import Answer, Answers, RequestRefused, RequestTimeout
from factory.errors import EngineError
from factory.judging.answer_fields import AskedRow, asked_row
from filters.asking.questions import questions_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from PIL import Image

    from factory.images.item import ImageItem
    from factory.work.views import ReadyView
    from filters.asking.questions import Question, VlmFilter
    from filters.contract.answers import AnswerRow

WATCHED_ANSWERS: Final = 64
MOST_ELSEWHERE: Final = 0.5
"""A judge whose first WATCHED_ANSWERS answers lie, in the median, with more than this outside the allowed ones is useless."""
BLIND_PAIRS: Final = 24
SAME_ANSWER: Final = 0.05
"""A judge whose first BLIND_PAIRS answers about an image differ from those about a blank one by less than this, in the median
and in the natural log-probabilities of what it may say, does not see images. What an engine's arithmetic changes is less."""
MOST_SAID: Final = 40_000
"""Characters that are kept of an answer to an open question."""
CONTROL_IMAGES: Final = 256
"""About so many images for each engine are also asked about another image's caption, and a blank one about theirs."""


class Asker:
    """Asks one engine. Answers are rows of tables.ANSWERS."""

    def __init__(self, engine: Answers, name: str, ready: ReadyView) -> None:
        """`name`: of the judge, for people; `ready`: the judge, as a view."""
        self.engine = engine
        self.name = name
        self.ready = ready
        self._elsewhere: dict[tuple[str, ...], list[float]] = {}  # by what is allowed: a judge may know some words only
        self._said: dict[tuple[str, ...], list[str]] = {}
        self._blank_differences: list[float] = []
        self._recent: deque[tuple[str, Question]] = deque(maxlen=64)
        self._seen = 0

    async def ask(self, item: ImageItem, image_id: str, questions: Sequence[Question]) -> list[AskedRow]:
        """The answers to these questions about an image, each asked once, and those of controls.

        Raises:
            EngineDied: the engine is gone. EngineError: the judge answers something else than what is allowed, or does not
                see the images.
        """
        wanted = list({question.id: question for question in questions}.values())
        jobs = [self._row(item, question, item.image, image_id, None) for question in wanted]
        jobs += self._controls(item, image_id, wanted)
        rows = list(await asyncio.gather(*jobs))
        self._watch_blanks(rows)
        return rows

    async def ask_about(
        self,
        item: ImageItem,
        image_id: str,
        about: Sequence[tuple[VlmFilter, str, Sequence[str]]],
        known: Mapping[str, AnswerRow] | None = None,
    ) -> list[AskedRow]:
        """Ask about an image until its captions call for nothing more: an answer may call for further questions.

        Args:
            item: the image.
            image_id: unique for its pixels; caches go by it.
            about: filter, caption, and the other captions of its view.
            known: answers that need not be asked for, by the question's id.

        Returns:
            The new answers, with those of controls.

        Raises:
            EngineDied, EngineError: as of `ask`.
        """
        return await asked_to_the_end(about, known or {}, partial(self.ask, item, image_id))

    def _controls(self, item: ImageItem, image_id: str, own: list[Question]) -> list[Any]:
        """A question about another image asked about this one, and one about this asked about a blank one."""
        choices = [question for question in own if question.kind == "choice"]
        if not choices:
            return []
        self._seen += 1
        jobs = []
        others = [question for key, question in self._recent if key != item.key and question not in own]
        if others and random.Random(item.key).random() < CONTROL_IMAGES / self._seen:
            jobs.append(self._row(item, others[-1], item.image, image_id, "shuffled"))
            blank = f"blank-{item.width}x{item.height}"
            jobs.append(self._row(item, choices[0], lambda: _blank(item), blank, "blank"))
        self._recent.append((item.key, choices[len(choices) // 2]))
        return jobs

    async def _row(
        self, item: ImageItem, question: Question, image: Callable[[], Image.Image], image_id: str, control: str | None
    ) -> AskedRow:
        try:
            answer = await self.engine.answer(question, image, image_id, self.ready)
        except (RequestTimeout, RequestRefused) as error:
            return asked_row(item.key, question, str(error), control)
        except EngineError as error:  # it cannot be asked that at all
            raise EngineError(f"the judge {self.name}, asked by {question.asked_by or 'a filter'}: {error}") from None
        if answer.elsewhere is not None:
            self._watch(answer, question)
        said = answer.said[:MOST_SAID] if question.kind == "open" else None
        return {
            **asked_row(item.key, question, control=control),
            "values": answer.values,
            "ends": answer.ends,
            "elsewhere": answer.elsewhere,
            "said": said,
        }

    def _watch(self, answer: Answer, question: Question) -> None:
        """Stop where most of the judge's probability lies outside the allowed answers."""
        elsewhere = self._elsewhere.setdefault(question.allowed, [])
        if len(elsewhere) >= WATCHED_ANSWERS:
            return
        assert answer.elsewhere is not None
        elsewhere.append(answer.elsewhere)
        words = self._said.setdefault(question.allowed, [])
        words.append(answer.said)
        middle = statistics.median(elsewhere)
        if len(elsewhere) == WATCHED_ANSWERS and middle > MOST_ELSEWHERE:
            said = ", ".join(repr(text) for text in dict.fromkeys(words[:8]))
            raise EngineError(
                f"the judge {self.name} answers with something else than {' or '.join(question.allowed)}: {middle:.0%} of its "
                f"probability lies elsewhere, and it begins with {said}. Change the question of the filter "
                f"{question.asked_by or 'that asks'} so that it asks for these words, or choose another judge"
            )

    def _watch_blanks(self, rows: list[AskedRow]) -> None:
        """Stop where answers about images are those about blank ones."""
        if len(self._blank_differences) >= BLIND_PAIRS:
            return
        blank = next((row for row in rows if row["control"] == "blank"), None)
        if blank is None:
            return
        own = next(row for row in rows if row["question"] == blank["question"] and row["control"] is None)
        difference = _difference(own.get("values"), blank.get("values"))
        if difference is None:
            return
        self._blank_differences.append(difference)
        if len(self._blank_differences) == BLIND_PAIRS and statistics.median(self._blank_differences) < SAME_ANSWER:
            raise EngineError(
                f"the judge {self.name} gives a blank picture the answers that it gives the images ({BLIND_PAIRS} of them "
                "compared), so it does not see images. Choose a vision-language model; of a server, check that it was started "
                "with its vision part and that its chat template puts the image into the prompt"
            )


async def asked_to_the_end(
    about: Sequence[tuple[VlmFilter, str, Sequence[str]]],
    known: Mapping[str, AnswerRow],
    ask: Callable[[Sequence[Question]], Awaitable[list[AskedRow]]],
) -> list[AskedRow]:
    """Ask until captions call for nothing more: an answer may call for further questions.

    Args:
        about: filter, caption, and the other captions of its view.
        known: answers that need not be asked for, by the question's id.
        ask: gives a row for each question, perhaps more for controls.

    Returns:
        All rows that `ask` gave.
    """
    answers = dict(known)
    rows: list[AskedRow] = []
    while asked := questions_of(about, answers):
        new = await ask(asked)
        answers |= {row["question"]: row for row in new if row["control"] is None}
        rows += new
    return rows


def _difference(some: list[float] | None, others: list[float] | None) -> float | None:
    """Mean distance of log-probabilities; None where they are not known, as of a server that tells only the word."""
    pairs = [(a, b) for a, b in zip(some or (), others or (), strict=False) if a > 0 and b > 0]
    if len(pairs) < 2:
        return None
    return statistics.fmean(abs(math.log(a) - math.log(b)) for a, b in pairs)


def _blank(item: ImageItem) -> Image.Image:
    from PIL import Image

    return Image.new("RGB", (item.width, item.height), (128, 128, 128))
