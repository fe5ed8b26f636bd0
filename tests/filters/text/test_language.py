import polars as pl
import pytest

from filters import FilterError, Language, build


@pytest.fixture(scope="module")
def language(models: dict[str, str]) -> Language:
    return Language(model=models["language"])


def judge(language: Language, *texts: str | None) -> list[tuple[float | None, str | None]]:
    frame = language.score(pl.DataFrame({"text": list(texts)}, schema={"text": pl.String}))
    return [(score if score is None else round(score), name) for score, name, _ in frame.rows()]


def test_the_language_wanted_scores_near_1_and_another_near_0(language: Language) -> None:
    texts = "a dog runs over the beach", "ein Hund läuft über den Strand", "le chien court sur la plage"

    assert judge(language, *texts) == [(1, "en"), (0, "de"), (0, "fr")]


def test_several_languages_can_be_wanted(models: dict[str, str]) -> None:
    both = Language(model=models["language"], expected=("en", "de"))

    assert [score for score, _ in judge(both, "the dog runs on the beach", "der Hund läuft auf der Straße")] == [1, 1]
    assert judge(both, "le chien court sur la plage")[0][0] == 0


def test_all_languages_wanted_score_1(models: dict[str, str]) -> None:
    every = Language(model=models["language"], expected=("en", "de", "fr"))

    assert every.score(pl.DataFrame({"text": ["the dog runs on la plage"]}))["score"].item() == 1.0


def test_the_score_compares_the_wanted_with_the_likeliest_other(language: Language) -> None:
    mixed = "the dog runs sur la plage"
    score, name, probability = language.score(pl.DataFrame({"text": [mixed]})).row(0)

    assert (score >= 0.5) == (name == "en")
    assert probability >= 1 / 3


def test_below_four_words_the_language_is_undetermined(language: Language) -> None:
    assert judge(language, "der Hund läuft", "", "...") == [(None, "und")] * 3
    assert judge(language, None) == [(None, None)]


def test_characters_of_scripts_without_spaces_are_words(language: Language) -> None:
    assert judge(language, "海辺の犬")[0][1] != "und"


def test_line_ends_do_not_stop_the_model(language: Language) -> None:
    assert judge(language, "a dog\nruns over\r\nthe beach") == [(1, "en")]


def test_a_language_that_the_model_does_not_know_is_named(models: dict[str, str]) -> None:
    with pytest.raises(FilterError, match=r"language\.expected: the model has no language 'ja'; it has: de, en, fr"):
        judge(Language(model=models["language"], expected=("ja",)), "a dog runs on the beach")


def test_the_model_that_comes_along_knows_the_large_languages() -> None:
    captions = {
        "en": "A brown dog runs along the beach in the evening sun.",
        "de": "Ein brauner Hund läuft in der Abendsonne am Strand entlang.",
        "fr": "Un chien brun court le long de la plage au soleil du soir.",
        "ja": "夕日の中、茶色い犬が浜辺を走っている。",
    }

    assert [judge(Language(), caption)[0][1] for caption in captions.values()] == list(captions)


def test_captions_too_short_to_judge_need_no_model() -> None:
    assert judge(Language(model="nowhere.bin"), "two dogs", None) == [(None, "und"), (None, None)]


def test_its_model_is_identified_by_its_bytes(models: dict[str, str]) -> None:
    assert len(build("language", {"model": models["language"]}).models()["model"]) == 64
    with pytest.raises(FilterError, match=r"nowhere\.bin.*cannot be read"):
        Language(model="nowhere.bin").models()
