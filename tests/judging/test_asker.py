"""A judge is watched while it answers: whether it uses the allowed words, and whether it sees the images at all."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pytest
from PIL import Image

import filters
from factory.engines.contract import Answer
from factory.errors import EngineError
from factory.images.item import ImageItem
from factory.judging.answer_fields import AskedRow, asked_row
from factory.judging.asker import BLIND_PAIRS, WATCHED_ANSWERS, Asker, asked_to_the_end
from factory.runs import tables
from factory.work.views import ReadyView
from filters.asking.questions import Question, VlmFilter
from tests.ready import ready_view

YES_NO = ("yes", "no")


class Judge:
    """Answers by a function of the question and of the picture's bytes."""

    def __init__(self, answer: Callable[[Question, bytes], list[float]]) -> None:
        self.say = answer

    async def answer(
        self, question: Question, image: Callable[[], Image.Image], image_id: str, ready: ReadyView
    ) -> Answer:
        values = self.say(question, image().tobytes())
        return Answer(values, [], 1 - sum(values), "word")


def item(number: int) -> ImageItem:
    rgb = random.Random(number).randbytes(8 * 8 * 3)
    return ImageItem(f"image-{number}", "shard", None, (), rgb, 8, 8, 8, 8, "PNG", f"{number:064x}")


def chance(*parts: object) -> float:
    """The same number in [0, 1) for the same parts."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16) / 2**32


def build_asking(name: str) -> VlmFilter:
    built = filters.build(name, {})
    assert isinstance(built, VlmFilter)
    return built


def ask_about(judge: Judge, images: int, allowed: tuple[str, ...] = YES_NO) -> list[dict[str, Any]]:
    asker = Asker(judge, "org/judge", ready_view())

    async def all_of_them() -> list[dict[str, Any]]:
        rows = []
        for number in range(images):
            question = Question(f"Is there a thing {number}?", allowed, asked_by="vqa_faithfulness")
            rows += await asker.ask(item(number), f"image-{number}", [question])
        return rows

    return asyncio.run(all_of_them())


def blind(question: Question, picture: bytes) -> list[float]:
    yes = 0.2 + 0.6 * chance(question.text)
    noise = 0.01 * chance(picture)  # what the arithmetic of another batch changes
    return [0.98 * yes + noise, 0.98 * (1 - yes)]


def seeing(question: Question, picture: bytes) -> list[float]:
    yes = 0.1 + 0.8 * chance(question.text, picture)
    return [yes * 0.98, (1 - yes) * 0.98]


def saying_no(question: Question, picture: bytes) -> list[float]:
    """Captions that are all wrong: no to everything, but never equally sure."""
    yes = 10 ** (-2 - 2 * chance(question.text, picture))
    return [yes, 1 - yes]


def test_a_judge_that_does_not_see_images_stops_the_run() -> None:
    with pytest.raises(
        EngineError, match=r"org/judge gives a blank picture the answers .* does not see images\. Choose"
    ):
        ask_about(Judge(blind), BLIND_PAIRS + 5)


@pytest.mark.parametrize("judge", [seeing, saying_no])
def test_a_judge_that_sees_images_goes_on_whatever_it_says(judge: Callable[[Question, bytes], list[float]]) -> None:
    rows = ask_about(Judge(judge), 60)

    assert {row["control"] for row in rows} == {None, "shuffled", "blank"}
    assert {row["filter"] for row in rows} == {"vqa_faithfulness"}
    assert all(row["allowed"] == list(YES_NO) for row in rows)


def test_words_that_a_judge_does_not_know_are_found_among_those_it_knows() -> None:
    """It answers yes and no as it should, and digits never."""
    judge = Judge(lambda question, picture: seeing(question, picture) if len(question.allowed) == 2 else [0.001] * 10)
    asker = Asker(judge, "org/judge", ready_view())
    digits = tuple("0123456789")

    async def both() -> None:
        for number in range(WATCHED_ANSWERS + 1):
            known = [Question(f"Is it {number}.{part}?", YES_NO) for part in range(3)]
            await asker.ask(item(number), "x", [*known, Question(f"Rate {number}.", digits, asked_by="vlm_judge")])

    with pytest.raises(EngineError, match=r"something else than 0 or 1 .*99%.*filter vlm_judge"):
        asyncio.run(both())


def test_a_judge_that_tells_only_words_is_never_called_blind() -> None:
    """Of such a judge, one that says no to all cannot be told from one that sees nothing; the report warns."""
    assert ask_about(Judge(lambda question, picture: [0.0, 1.0]), 60)


def test_an_answer_may_call_for_another_question_and_nothing_is_asked_twice() -> None:
    """`claims` asks about what a thing is like only where it is there."""
    asked: list[str] = []

    def there(question: Question, picture: bytes) -> list[float]:
        asked.append(question.text)
        return [0.99, 0.01]

    text = "A small red circle is at the top left."
    about = [(build_asking("claims"), text, []), (build_asking("claims"), text, [])]
    asker = Asker(Judge(there), "org/judge", ready_view())
    rows = asyncio.run(asker.ask_about(item(1), "image-1", about))
    known = {row["question"]: row for row in rows if row["control"] is None}

    assert len(known) > 1
    assert len(asked) == len(set(asked)) == len(known)
    assert asyncio.run(asker.ask_about(item(1), "image-1", about, known)) == []


def test_a_judge_that_cannot_be_asked_is_named_with_the_filter_that_asks() -> None:
    def no_tokens(question: Question, picture: bytes) -> list[float]:
        raise EngineError("this judge's tokenizer has no token of its own for each of yes, no")

    with pytest.raises(EngineError, match=r"org/judge, asked by vqa_faithfulness: this judge's tokenizer"):
        ask_about(Judge(no_tokens), 1)


def test_a_row_of_an_answer_has_the_columns_of_its_table() -> None:
    assert set(AskedRow.__annotations__) == set(tables.ANSWERS.names())
    row = asked_row("image-1", Question("Is it red?", YES_NO, asked_by="claims"), "x" * 900)
    frame = pl.DataFrame([row], schema=tables.ANSWERS)
    assert frame.select("image_key", "asked", "filter", "control").row(0) == ("image-1", "Is it red?", "claims", None)
    assert frame["problem"].item() == "x" * 500


def test_what_an_answer_calls_for_is_asked_until_nothing_more_is() -> None:
    claims = build_asking("claims")
    rounds: list[list[str]] = []

    async def ask(questions: Sequence[Question]) -> list[AskedRow]:
        rounds.append([question.text for question in questions])
        rows = [asked_row("image-1", question) for question in questions]
        return [{**row, "values": [0.9, 0.1], "elsewhere": 0.0} for row in rows]

    made = asyncio.run(asked_to_the_end([(claims, "A red car stands on a road.", ())], {}, ask))

    asked = [text for some in rounds for text in some]
    assert len(rounds) > 1  # the colour only once there is a car
    assert len(set(asked)) == len(asked) == len(made)
    known = {row["question"]: row for row in made}
    assert asyncio.run(asked_to_the_end([(claims, "A red car stands on a road.", ())], known, ask)) == []
