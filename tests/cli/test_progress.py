"""What a log shows while a run works."""

from __future__ import annotations

import pytest

from factory.progress import Progress


def test_a_phase_says_how_long_it_usually_takes_where_that_is_known(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(None, usual={"starting the engine": 41.7}) as progress:
        progress.phase("starting Ray")
        progress.phase("starting the engine")
    assert capfd.readouterr().err.splitlines() == ["starting Ray ...", "starting the engine, usually 42 s ..."]


def test_keys_and_words_of_strangers_do_not_reach_the_terminal_raw(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(None) as progress:
        progress.phase("asking \x1b[31mjudge")
    assert "\x1b" not in capfd.readouterr().err


def test_quiet_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(3, quiet=True) as progress:
        progress.phase("captioning")
        progress.update({"ok": 1}, {"output": 4}, 0, "")
    assert capfd.readouterr().err == ""
