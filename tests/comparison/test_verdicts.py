"""Win rates, strata, agreement and what an answer takes, from verdicts alone."""

from __future__ import annotations

import polars as pl
import pytest

from factory.comparison.verdicts import (
    OTHERS,
    PAUSE_S,
    Rate,
    agreements,
    agreements_of_people,
    rates,
    rates_by,
    seconds_an_answer,
)


def verdicts(answers: str, annotator: str = "Ann", question: str = "made_up") -> pl.DataFrame:
    """One letter a pair: a, b, or t for a tie."""
    words = {"a": "a", "b": "b", "t": "tie"}
    return pl.DataFrame(
        {
            "image_key": [f"k{number}" for number in range(len(answers))],
            "texts": ["x"] * len(answers),
            "question": [question] * len(answers),
            "answer": [words[one] for one in answers],
            "annotator": [annotator] * len(answers),
        }
    )


def test_ties_are_counted_and_are_in_no_share() -> None:
    made_up, says_more = rates(verdicts("aaabt"))
    assert (made_up.a, made_up.b, made_up.tie, made_up.share) == (3, 1, 1, 0.75)
    assert made_up.low < 0.75 < made_up.high
    assert (says_more.share, says_more.words) == (None, "-")
    assert made_up.swapped() == Rate.counted("made_up", 1, 3, 1)


def test_strata_add_up_and_small_ones_are_told_together() -> None:
    said = verdicts("ab" * 12)
    strata = said.select("image_key", "texts").with_columns(
        site=pl.Series(["x"] * 10 + ["y"] * 9 + ["z"] * 3 + ["w", None])
    )
    found = rates_by(said, strata, "site")
    assert list(found) == ["x", "y", OTHERS]
    assert sum(of[0].a for of in found.values()) == 12
    assert found[OTHERS][0].a + found[OTHERS][0].b == 5


def test_agreement_is_about_what_both_decided() -> None:
    (found,) = agreements(verdicts("aabbt"), verdicts("abbba", "Bob"), ("Ann", "Bob"))
    assert (found.both, found.tied, found.agreement) == (5, 1, 0.75)
    assert found.kappa == pytest.approx(0.5)
    (alike,) = agreements_of_people(pl.concat([verdicts("aa"), verdicts("aa", "Bob")]))
    assert (alike.agreement, alike.kappa) == (1.0, None)  # chance explains all
    assert agreements(verdicts("a"), verdicts("a", question="says_more"), ("Ann", "Bob")) == []


def test_breaks_are_no_time_of_answering() -> None:
    said = verdicts("aaaa").with_columns(created_ms=pl.Series([0, 4_000, 10_000, 10_000 + int(PAUSE_S * 1000) + 1]))
    assert seconds_an_answer(said) == pytest.approx(5.0)
    assert seconds_an_answer(said.head(1)) is None
