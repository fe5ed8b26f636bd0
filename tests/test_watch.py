"""The watch over engines: one row cannot kill engines for ever, and an engine that never answers stops the run."""

from __future__ import annotations

from factory.watch import ALONE_AFTER, GIVE_UP, EngineWatch


def test_rows_in_flight_at_a_death_are_remembered() -> None:
    watch = EngineWatch()
    assert watch.begin(["a", "b"]) == ({}, set())
    assert watch.died(["a", "b"], "boom") is None
    assert watch.begin(["a", "b", "c"]) == ({"a": 1, "b": 1}, set())


def test_a_process_that_vanishes_counts_as_a_death() -> None:
    watch = EngineWatch()
    watch.begin(["a"])
    assert watch.begin(["a"]) == ({"a": 1}, set())


def test_only_the_row_tried_alone_is_found_guilty() -> None:
    watch = EngineWatch()
    for _ in range(ALONE_AFTER):
        watch.begin(["a", "b"])
        watch.died(["a", "b"], "boom")
    watch.begin(["a", "b"])
    watch.try_alone("a")
    watch.died(["a", "b"], "boom")
    deaths, guilty = watch.begin(["a", "b"])
    assert guilty == {"a"}
    assert deaths["b"] == ALONE_AFTER


def test_a_row_that_survives_alone_is_cleared() -> None:
    watch = EngineWatch()
    watch.died(["a"], "boom")
    watch.begin(["a"])
    watch.try_alone("a")
    watch.survived("a")
    watch.end(["a"], answered=1)
    assert watch.begin(["a"]) == ({}, set())


def test_the_run_stops_when_engines_die_without_answering_once() -> None:
    watch = EngineWatch()
    answers = [watch.died([f"{number}"], "CUDA out of memory") for number in range(GIVE_UP)]
    assert answers[:-1] == [None] * (GIVE_UP - 1)
    assert "CUDA out of memory" in str(answers[-1])


def test_an_answer_in_between_lets_the_run_go_on() -> None:
    watch = EngineWatch()
    for number in range(3 * GIVE_UP):
        assert watch.died([f"{number}"], "boom") is None
        watch.end(["x"], answered=1)
