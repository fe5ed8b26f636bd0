import math

import polars as pl
import pytest

from filters.sets import diversity as module
from filters.sets.diversity import diversity


def of(*texts: str | None) -> dict[str, object]:
    return diversity([pl.DataFrame({"text": texts}, schema={"text": pl.String})])


def test_counts_are_what_they_say() -> None:
    found = of("a dog runs by", "A dog runs by.", None, "a cat", "two men and Mary Ann Smith near Paris")

    assert found["captions"] == 4
    assert found["words_mean"] == (4 + 4 + 2 + 8) / 4
    assert (found["words_p5"], found["words_p50"], found["words_p95"]) == (2, 4, 8)
    assert found["distinct_1"] == 13 / 18
    assert found["distinct_2"] == (3 + 1 + 7) / (3 + 3 + 1 + 7)
    assert found["exact_duplicates"] == 0.25
    assert (found["opener"], found["opener_share"]) == ("a dog runs by", 2 / 3)
    assert found["names"] == 2


def test_a_set_of_nothing_has_no_shares() -> None:
    for nothing in (diversity([]), of(), of(None)):
        assert nothing["captions"] == nothing["names"] == 0
        assert {value for name, value in nothing.items() if name not in ("captions", "names")} == {None}


def test_batches_make_no_difference() -> None:
    frame = pl.DataFrame({"text": [f"a dog and {number % 70} cats in Paris {number % 7}" for number in range(500)]})

    assert diversity(frame.iter_slices(37)) == diversity([frame])


def test_templates_compress_better_than_varied_captions() -> None:
    template = of(*(f"The image shows a dog number {number}" for number in range(500)))
    varied = of(*(" ".join(f"{math.sin(number * 31 + word):.9f}"[3:] for word in range(6)) for number in range(500)))

    assert template["compression_ratio"] > 2 * varied["compression_ratio"]  # type: ignore[operator]


def test_estimates_of_many_are_within_their_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SKETCH", 2**12)
    texts = [f"caption{number % 40_000} word{number}" for number in range(60_000)]

    found = diversity(pl.DataFrame({"text": texts}).iter_slices(5000))

    assert found["distinct_1"] == pytest.approx(100_000 / 120_000, rel=0.06)
    assert found["exact_duplicates"] == pytest.approx(0.0, abs=0.06)


def test_the_commonest_opener_stays_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPENERS", 8)
    texts = [f"{number} rare words here" if number % 3 else "the image shows a dog" for number in range(600)]

    found = diversity(pl.DataFrame({"text": texts}).iter_slices(50))

    assert (found["opener"], found["opener_share"]) == ("the image shows a", 1 / 3)
