"""An expert may crash or hang on an image: that image costs a reason, the next one is looked at."""

from __future__ import annotations

import os
import signal

import pytest

from factory.experts.child_process import ExpertOrder, ExpertProcess
from factory.experts.contract import ExpertError
from factory.experts.kinds import build_expert
from tests.experts.own_experts import CRASHES, FINDS, HANGS, LIES, NOTHING, RAISES, picture

OWN = "tests.experts.own_experts"


def process(**settings: object) -> ExpertProcess:
    return ExpertProcess("mine", ExpertOrder.of(build_expert({"kind": f"{OWN}:Widths"} | settings)))


def test_each_image_ends_with_a_text_or_a_reason() -> None:
    with process() as mine:
        found = mine.look(picture(FINDS))
        assert (found.text, found.findings) == ("20 pixels", (("20 pixels", 0.5, (0.0, 0.0, 0.5, 0.125)),))
        assert mine.look(picture(NOTHING)).text == ""
        failed = {width: mine.look(picture(width)) for width in (RAISES, LIES, CRASHES)}
        assert mine.look(b"no image").reason == "undecodable"
        assert mine.look(picture(FINDS)).text == "20 pixels"
    with process(timeout_s=0.5) as mine:
        failed[HANGS] = mine.look(picture(HANGS))
    assert {width: one.reason for width, one in failed.items()} == {
        RAISES: "error", LIES: "bad_answer", HANGS: "timeout", CRASHES: "crashed",
    }  # fmt: skip
    assert [one.text for one in failed.values()] == [None] * 4
    assert failed[RAISES].detail == "KeyError: 'no such width'"
    assert "signal 11" in failed[CRASHES].detail
    assert failed[HANGS].detail == "longer than 0.5 s"


def test_an_expert_that_cannot_be_loaded_says_why() -> None:
    broken = ExpertProcess("mine", ExpertOrder.of(build_expert({"kind": f"{OWN}:Broken"})))
    with broken, pytest.raises(ExpertError, match=r"experts\.mine: cannot be loaded: OSError: its model is gone"):
        broken.look(picture(FINDS))


def test_a_function_runs_in_its_process_with_its_parameters() -> None:
    with ExpertProcess("high", ExpertOrder.of(build_expert({"kind": f"{OWN}:heights", "unit": "px"}))) as high:
        assert high.look(picture(20, 33)).text == "33 px"


def test_the_process_ends_with_its_owner() -> None:
    mine = process()
    mine.start()
    assert mine._process is not None
    number = mine._process.pid
    mine.close()
    with pytest.raises(ProcessLookupError):
        os.kill(number, signal.SIGCONT)
    mine.start()
    assert mine._process is not None
    assert mine._process.stdin is not None
    mine._process.stdin.close()  # as when the owner is killed
    assert mine._process.wait(30) == 0
