"""How many requests an engine is given at once."""

from __future__ import annotations

import asyncio

import pytest

from factory.engines.request_window import LEAST, START, RequestWindow


async def _ask(window: RequestWindow, seconds: float, timeout_s: float, seen: list[int]) -> None:
    async with window.request(timeout_s):
        seen.append(window.open)
        await asyncio.sleep(seconds)


def _peak(most: int, requests: int, seconds: float, timeout_s: float) -> tuple[int, RequestWindow]:
    async def all_of_them() -> RequestWindow:
        window = RequestWindow(most)
        await asyncio.gather(*(_ask(window, seconds, timeout_s, seen) for _ in range(requests)))
        return window

    seen: list[int] = []
    window = asyncio.run(all_of_them())
    assert len(seen) == requests
    return max(seen), window


def test_quick_answers_open_the_window_up_to_its_most() -> None:
    peak, window = _peak(most=500, requests=2000, seconds=0.001, timeout_s=60)
    assert peak == 500
    assert window.open == 0


def test_slow_answers_close_the_window_so_that_requests_do_not_time_out_for_waiting_in_the_engine() -> None:
    peak, window = _peak(most=500, requests=START * 3, seconds=0.02, timeout_s=0.03)
    assert peak <= START
    assert window.size == LEAST


def test_a_window_smaller_than_its_start_is_kept() -> None:
    peak, _ = _peak(most=2, requests=20, seconds=0.001, timeout_s=60)
    assert peak == 2


def test_requests_come_in_in_order() -> None:
    async def numbered() -> list[int]:
        window, order = RequestWindow(1), []

        async def ask(number: int) -> None:
            async with window.request(60):
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(ask(number) for number in range(30)))
        return order

    assert asyncio.run(numbered()) == list(range(30))


@pytest.mark.parametrize("while_waiting", [True, False])
def test_a_cancelled_request_gives_its_place_back(while_waiting: bool) -> None:
    async def run() -> int:
        window = RequestWindow(1)
        seen: list[int] = []
        first = asyncio.create_task(_ask(window, 0.05, 60, seen))
        second = asyncio.create_task(_ask(window, 0.05, 60, seen))
        await asyncio.sleep(0.01)
        (second if while_waiting else first).cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        await asyncio.wait_for(_ask(window, 0, 60, seen), 1)
        return window.open

    assert asyncio.run(run()) == 0


def test_a_failing_request_gives_its_place_back() -> None:
    async def run() -> int:
        window = RequestWindow(1)
        with pytest.raises(ZeroDivisionError):
            async with window.request(60):
                1 / 0  # noqa: B018
        return window.open

    assert asyncio.run(run()) == 0


def test_a_request_that_goes_ahead_does_not_wait() -> None:
    async def run() -> None:
        window = RequestWindow(1)
        async with window.request(60), asyncio.timeout(1), window.request(60, ahead=True):
            assert window.open == 2

    asyncio.run(run())
