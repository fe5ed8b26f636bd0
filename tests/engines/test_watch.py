"""The watch over engines: one row cannot kill engines for ever, and an engine that never answers stops the run."""

from __future__ import annotations

import pytest

from factory.engines.watch import ALONE_AFTER, GIVE_UP, EngineWatch, Past


def test_rows_in_flight_at_a_death_are_remembered() -> None:
    watch = EngineWatch()
    assert watch.begin(["a", "b"]) == Past({}, {}, set())
    assert watch.died(["a", "b"], "boom") is None
    assert watch.begin(["a", "b", "c"]) == Past({}, {"a": 1, "b": 1}, set())


def test_a_process_that_vanishes_counts_as_a_death() -> None:
    watch = EngineWatch()
    watch.begin(["a"])
    assert watch.begin(["a"]) == Past({}, {"a": 1}, set())


def test_only_the_row_tried_alone_is_found_guilty() -> None:
    watch = EngineWatch()
    for _ in range(ALONE_AFTER):
        watch.begin(["a", "b"])
        watch.died(["a", "b"], "boom")
    watch.begin(["a", "b"])
    watch.try_alone("a")
    watch.died(["a", "b"], "boom")
    past = watch.begin(["a", "b"])
    assert past.guilty == {"a"}
    assert past.deaths["b"] == ALONE_AFTER


def test_a_row_that_survives_alone_is_cleared() -> None:
    watch = EngineWatch()
    watch.died(["a"], "boom")
    watch.begin(["a"])
    watch.try_alone("a")
    watch.survived("a")
    assert watch.begin(["a"]).guilty == set()


def test_rows_that_were_written_are_known_when_a_task_is_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factory.engines.watch.REMEMBERED", 2)
    watch = EngineWatch()
    watch.begin(["a", "b", "c"])
    watch.end({"a": "ok", "b": "truncated", "c": "ok"}, answered=3)
    past = watch.begin(["b", "c", "d"])
    assert past == Past({"b": "truncated", "c": "ok"}, {}, set())
    assert watch.begin(["d"]).deaths == {"d": 1}
    assert watch.begin(["a"]).written == {}  # only so many are remembered


def test_the_run_stops_when_engines_die_without_answering_once() -> None:
    watch = EngineWatch()
    answers = [watch.died([f"{number}"], "CUDA out of memory") for number in range(GIVE_UP)]
    assert answers[:-1] == [None] * (GIVE_UP - 1)
    assert "CUDA out of memory" in str(answers[-1])


def test_an_answer_in_between_lets_the_run_go_on() -> None:
    watch = EngineWatch()
    for number in range(3 * GIVE_UP):
        assert watch.died([f"{number}"], "boom") is None
        watch.end({"x": "ok"}, answered=1)
