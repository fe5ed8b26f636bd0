"""Where time goes, what is remembered of it, and what that tells of other runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.costs.cache import remember, remembered
from factory.costs.estimate import estimate
from factory.costs.interval import Interval, share_of
from factory.costs.run_costs import RunCosts, costs_of_json
from factory.costs.speed_of_light import SpeedOfLight
from factory.engines.use import PARTS, EngineUse


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_full_engine_is_used_wholly_and_a_half_full_one_by_half() -> None:
    clock = Clock()
    use = EngineUse(2, clock)
    clock.now = 1.0  # nothing to do
    with use.request("captions"):
        clock.now = 3.0  # half full
        with use.request("questions"):
            clock.now = 4.0  # full, one of each
            with use.request("captions"), use.request("captions"):
                clock.now = 8.0  # three captions and a question, more than run together
    clock.now = 10.0
    assert use.seconds() == pytest.approx({"captions": 1.0 + 0.5 + 3.0, "questions": 0.5 + 1.0, "all": 10.0})


def test_a_request_that_fails_is_counted_out() -> None:
    clock = Clock()
    use = EngineUse(1, clock)
    with pytest.raises(RuntimeError), use.request("captions"):
        raise RuntimeError
    clock.now = 5.0
    assert use.seconds()["captions"] == 0.0


USED = dict(zip(PARTS, (20.0, 5.0, 60.0, 10.0, 5.0), strict=True))


def test_the_shares_of_the_speed_of_light_are_all_of_the_time() -> None:
    speed = SpeedOfLight.of(5000, 100.0, USED, 50.0)
    assert speed is not None
    assert speed.share == 0.5
    assert speed.losses == pytest.approx(
        {"start": 0.2, "starved": 0.05, "questions": 0.1, "drained": 0.05, "slower": 0.1}
    )
    assert speed.line.startswith("50% of the bare engine (50 of 100 tokens/s); the rest: start 20%")
    assert "Caption more images a run" in speed.line  # what to change about the largest


@given(
    st.lists(st.floats(0, 1000), min_size=5, max_size=5),
    st.floats(0, 100),
    st.one_of(st.none(), st.floats(0.01, 4000)),
)
def test_no_time_is_lost_or_counted_twice(parts: list[float], before: float, ideal: float | None) -> None:
    used = dict(zip(PARTS, parts, strict=True))
    seconds = sum(parts) + before + 0.01
    speed = SpeedOfLight.of(100, seconds, used, ideal)
    assert speed is not None
    assert all(value >= 0 for value in speed.losses.values())
    total = sum(speed.losses.values()) + (speed.captions if speed.share is None else speed.share or 0.0)
    assert total == pytest.approx(max(1.0, speed.share or 0.0), abs=1e-6)


def test_an_unmeasured_bare_engine_is_not_made_up() -> None:
    speed = SpeedOfLight.of(5000, 100.0, USED, None)
    assert speed is not None
    assert speed.share is None
    assert "was not measured" in speed.line
    assert SpeedOfLight.of(0, 100.0, USED, None) is None


def test_a_share_of_a_sample_is_no_more_certain_than_that() -> None:
    assert share_of(0, 0) == Interval(0.0, 0.5, 1.0)
    few, many = share_of(7, 10), share_of(700, 1000)
    assert few.low < many.low < 0.7 < many.high < few.high
    assert share_of(10, 10).high == 1.0
    assert share_of(10, 10).low == pytest.approx(0.722, abs=0.001)  # Wilson, 1927


COSTS = RunCosts(
    key="k",
    source="s",
    machine="m",
    at=1,
    images=200,
    captions=400,
    prompt_tokens=20_000,
    output_tokens=12_000,
    output_variance=100.0,
    truncated=4,
    kept=300,
    seconds={"caption": 60.0, "score": 2.0, "select": 1.0, "total": 65.0, "after_start": 0.0, "after_work": 0.0},
    used={"start": 40.0, "starved": 2.0, "captions": 14.0, "questions": 0.0, "drained": 4.0},
    engine_starts=1,
    stored_bytes=1_000_000,
    released_bytes=4_000_000,
    slopes={"score": 0.005, "select": 0.001},
)


def test_a_start_is_paid_once_and_the_rest_by_the_image() -> None:
    same, more = estimate([COSTS], 200), estimate([COSTS], 20_000)
    assert same.seconds.low <= 65.0 <= same.seconds.high
    assert same.seconds.mid == pytest.approx(65.0)
    assert more.parts["start"] == same.parts["start"]
    assert more.parts["caption"].mid == pytest.approx(100 * 20.0)
    assert more.parts["score"].mid == pytest.approx(2.0 + 0.005 * 19_800)
    assert more.captions.mid == 40_000
    assert more.kept.mid == pytest.approx(30_000)
    assert more.released_bytes.mid == pytest.approx(400_000_000)


def test_a_part_whose_price_an_image_is_not_known_is_between_once_and_each() -> None:
    unknown = estimate([replace(COSTS, slopes={})], 20_000).parts["score"]
    assert (unknown.low, unknown.high) == (2.0, 200.0)
    assert 2.0 < unknown.mid < 200.0


def test_the_run_with_the_nearest_number_of_images_tells() -> None:
    large = replace(COSTS, images=10_000, captions=20_000, kept=10_000, used={"start": 40.0, "captions": 1000.0})
    assert estimate([COSTS, large], 20_000).of == 10_000
    assert estimate([COSTS, large], 100).of == 200


@pytest.mark.parametrize(
    "change",
    [
        {"images": 0},
        {"seconds": {"caption": 1.0}},
        {"seconds": {"total": "long"}},
        {"kept": -1},
        {"used": {"start": float("nan")}},
        {"used": None},
    ],
)
def test_a_damaged_record_is_no_record(change: dict[str, object]) -> None:
    assert costs_of_json(COSTS.__dict__) == COSTS
    assert costs_of_json(COSTS.__dict__ | change) is None


def test_lines_of_the_cache_that_are_damaged_cost_themselves_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_CACHE", str(tmp_path / "cache"))
    assert remembered("a") == []
    remember("a", {"n": 1})
    with (tmp_path / "cache" / "a.jsonl").open("ab") as file:
        file.write(b'{"n": 2\n[3]\n\xff\xfe\n' + b"[" * 100_000 + b"\n")
    remember("a", {"n": 4})
    assert remembered("a") == [{"n": 1}, {"n": 4}]


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FACTORY_CACHE", str(tmp_path / "file" / "below"))
    remember("a", {"n": 1})
    assert remembered("a") == []
