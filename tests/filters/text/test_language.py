import json
from pathlib import Path
from typing import Any

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


CASES = Path(__file__).parents[1] / "cases"


def scores(*texts: str | None, **parameters: Any) -> list[float | None]:
    return Language(**parameters).score(pl.DataFrame({"text": texts}, schema={"text": pl.String}))["score"].to_list()


def cases(name: str) -> list[str]:
    return [json.loads(line)["text"] for line in (CASES / name).read_text().splitlines()]


ENGLISH = "A brown dog runs along the beach in the evening sun. Two people watch it from a wooden bench near the water."
FOREIGN = (
    "Im Hintergrund stehen einige Berge und ein kleines Dorf.",
    "Un autobus rouge attend devant une grande maison blanche.",
    "Un gato negro duerme sobre una mesa de madera.",
    "Собака бежит по пляжу рядом с водой.",
    "二人が公園のベンチに座っている。",
)


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_sentence_in_another_language_counts_wherever_it_stands(foreign: str) -> None:
    long = " ".join([ENGLISH] * 5)
    found = scores(f"{ENGLISH} {foreign}", f"{foreign} {ENGLISH}", f"{long} {foreign} {long}", f"{ENGLISH}\n{foreign}")

    assert max(score for score in found if score is not None) < 0.5


def test_another_script_in_the_middle_of_a_sentence_counts() -> None:
    assert all(score is not None and score < 0.5 for score in scores(*cases("language_mixed.jsonl")))


def test_what_a_sign_says_in_another_language_does_not_count() -> None:
    signs = (
        'A man stands below a sign that reads "Willkommen in der schönen Stadt Berlin" in the rain.',
        "The poster says «Une belle journée à la plage avec mes amis» and shows two people.",
        "The sign reads 北京大学 in red letters on a white wall.",
    )

    assert all(score is not None and score >= 0.5 for score in scores(*signs))
    assert scores('"Ein Hund läuft am Abend am Strand entlang"')[0] == pytest.approx(0, abs=0.05)


def test_no_break_spaces_and_full_width_forms_count_as_the_plain_ones() -> None:
    plain = "A red bus waits at a stop beside two people."
    wide = "".join(chr(ord(sign) + 0xFEE0) if sign.isalnum() else sign for sign in plain)

    assert cases("nbsp.jsonl")[0] != plain
    assert scores(*cases("nbsp.jsonl"), plain.replace(" ", "\u202f"), wide) == scores(plain, plain, plain)
    assert scores("Ein Hund läuft am Strand entlang".replace(" ", "\u00a0"))[0] == pytest.approx(0, abs=0.05)


SHORT = (
    "a wolf in a hat .",
    "A man on a snowy peak .",
    "2 pairs of scissors on blue",
    "1 man skiing down a snowy slope",
    "a banana on a pan",
    "a cat in a sink",
    "zebra grazing in a green field",
    "a bear in a tutu",
)


def test_weak_evidence_for_another_language_drops_no_short_caption() -> None:
    assert all(score is not None and score >= 0.5 for score in scores(*SHORT))


def test_short_captions_in_another_language_are_found() -> None:
    short = (
        "Ein Hund läuft am Strand",
        "un chien noir dans la neige",
        "een hond rent over het strand",
        "pies biegnie po plaży",
    )

    assert all(score is not None and score < 0.5 for score in scores(*short))


def test_plain_english_needs_no_model_and_says_so() -> None:
    frame = Language().score(pl.DataFrame({"text": [ENGLISH]}))

    assert frame.row(0) == (1.0, "en", None)


def test_english_counts_as_another_language_where_it_is_not_wanted() -> None:
    assert scores(ENGLISH, expected=("de",))[0] == pytest.approx(0, abs=0.05)
    assert scores(f"{ENGLISH} {FOREIGN[0]}", expected=("de", "en"))[0] == pytest.approx(1, abs=0.1)
