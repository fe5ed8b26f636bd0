import math

import polars as pl
import pytest

from filters import FilterError, TokenConfidence, build

LOGPROBS = pl.DataFrame({"mean_logprob": [-0.1, 0.0, None, math.nan], "min_logprob": [-2.0, 0.0, -1.0, -math.inf]})


def test_the_score_is_the_geometric_mean_of_the_tokens_probabilities() -> None:
    assert TokenConfidence().score(LOGPROBS)["score"].to_list() == [pytest.approx(0.9048, abs=1e-4), 1.0, None, None]


def test_the_score_can_be_the_least_likely_tokens_probability() -> None:
    assert TokenConfidence(use="min").score(LOGPROBS)["score"].to_list() == [
        pytest.approx(math.exp(-2)),
        1.0,
        pytest.approx(math.exp(-1)),
        0.0,
    ]


def test_both_probabilities_are_evidence() -> None:
    evidence = TokenConfidence().score(LOGPROBS[0]).drop("sentences")

    assert evidence.row(0) == pytest.approx((math.exp(-0.1), math.exp(-0.1), math.exp(-2.0)))


def test_captions_from_elsewhere_have_no_score() -> None:
    assert TokenConfidence().score(pl.DataFrame({"text": ["a dog", "a cat"]}))["score"].to_list() == [None, None]


def test_a_log_probability_rounded_above_0_is_certainty() -> None:
    assert TokenConfidence().score(pl.DataFrame({"mean_logprob": [1e-7]}))["score"].to_list() == [1.0]


def test_whole_numbers_are_log_probabilities_too() -> None:
    assert TokenConfidence().score(pl.DataFrame({"mean_logprob": [0]}))["score"].to_list() == [1.0]


def test_another_statistic_is_refused() -> None:
    with pytest.raises(FilterError, match=r"token_confidence\.use: .*'mean' or 'min'"):
        build("token_confidence", {"use": "median"})
