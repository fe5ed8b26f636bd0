import polars as pl
import pytest

from filters import LanguageDrift

ENGLISH = "the dog runs on a wide street with two of her cats"
GERMAN = "ein Hund läuft auf der Straße mit zwei von seinen Katzen"


def test_a_caption_in_a_language_that_few_have_scores_low(models: dict[str, str]) -> None:
    frame = pl.DataFrame({"text": [ENGLISH] * 99 + [GERMAN]})

    scores = LanguageDrift(model=models["language_drift"]).score(frame)

    assert scores["score"].to_list() == [1.0] * 99 + [pytest.approx(1 / 99)]
    assert scores["language"].to_list() == ["en"] * 99 + ["de"]
    assert scores["share"][-1] == pytest.approx(0.01)


def test_each_view_has_a_language_of_its_own(models: dict[str, str]) -> None:
    frame = pl.DataFrame({"text": [ENGLISH] * 3 + [GERMAN] * 3, "view": ["en"] * 3 + ["de"] * 3})

    assert LanguageDrift(model=models["language_drift"]).score(frame)["score"].to_list() == [1.0] * 6


def test_short_and_missing_captions_have_no_language(models: dict[str, str]) -> None:
    scores = LanguageDrift(model=models["language_drift"]).score(pl.DataFrame({"text": ["a dog", None, ENGLISH]}))

    assert scores["score"].to_list() == [None, None, 1.0]
    assert scores["language"].to_list() == ["und", None, "en"]
