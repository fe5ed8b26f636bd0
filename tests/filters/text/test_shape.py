import polars as pl
import pytest

from filters import Shape


def score(text: str | None, **limits: float) -> float | None:
    return Shape(**limits).score(pl.DataFrame({"text": [text]}, schema={"text": pl.String}))["score"].item()


@pytest.mark.parametrize(
    "text",
    [
        "A dog runs on the beach.",
        "a 1950's kitchen",
        "NATO",
        "J. J. Abrams",
        "vitamin C and E",
        "I like a dog",
        "海辺の犬。" * 40,
        "كلب على الشاطئ",
        "कुत्ता समुद्र तट पर",
        "Ça déjà vu à la plage",
        "a dog & a cat, 100 % sure",
        "line one\nline two\tand three",
    ],
)
def test_sentences_of_any_script_score_1(text: str) -> None:
    assert score(text) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "CHEAP SHOES BUY NOW ONLINE",
        "1 2 3 4 5 6 7",
        "!!! *** >>> <<<",
        "h e l l o t h e r e",
        "12:30:55 - 99999",
        "🐕🐕🐕",
    ],
)
def test_what_no_sentence_looks_like_scores_at_most_a_half(text: str) -> None:
    found = score(text)

    assert found is not None
    assert found <= 0.5


@pytest.mark.parametrize(
    "text",
    [
        "a dog \ufffd on a beach",
        "a dog\x00 on a beach",
        "Ã©tÃ© on a beach",
        "donâ€™t look at the beach",
        "a%20dog%20on%20a beach",
        "a dog \\u00e9 on a beach",
        "a dog \u202eon a beach",
        "\uf0a7 a dog on a beach",
        "a dog " + "x" * 60,
        "",
        " \n",
    ],
)
def test_broken_endless_and_empty_text_scores_0(text: str) -> None:
    assert score(text) == 0.0


def test_a_share_past_its_limit_costs_the_ratio() -> None:
    # 16 characters of which 8 are digits, and a fifth may be; letters are half of them, and six tenths should be.
    assert score("abcdefgh 12345678", max_digits=0.2) == pytest.approx(0.2 / 0.5)
    assert score("abcdefgh 12345678", max_digits=1.0) == pytest.approx(0.5 / 0.6)


def test_capitals_are_a_share_of_the_letters() -> None:
    assert score("ABCDEF ghijkl", max_capitals=0.5) == 1.0
    assert score("ABCDEFGHI jkl", max_capitals=0.5) == pytest.approx(0.5 / 0.75)


def test_shares_are_evidence() -> None:
    evidence = Shape().score(pl.DataFrame({"text": ["Dog, 12345"]}))

    assert evidence.select("letters", "digits", "symbols").row(0) == pytest.approx((3 / 9, 5 / 9, 1 / 9))
    assert evidence.select("broken", "endless").row(0) == (False, False)


def test_letters_beside_accented_ones_are_no_single_letters() -> None:
    for text in (
        "Một cô gái mặc váy đỏ đứng cạnh cửa sổ.",
        "Žena v šátku stojí před dveřmi kostela.",
        "b ý c ý d ý mặc",
    ):
        assert (score(text) == 1.0) == (text[0] != "b")


def test_html_entities_are_kept_for_the_rewrite_that_repairs_them() -> None:
    assert score("Tom &amp;amp; Jerry stand beside a red door.") == 1.0


@pytest.mark.parametrize("codec", ["latin-1", "cp1252", "cp1250", "cp437"])
@pytest.mark.parametrize(
    "text",
    [
        "Ein schöner Hund läuft über die Straße",
        "un été à la plage, où l’élève",
        "El niño está jugando en el jardín",
        "Một cô gái mặc váy đỏ",
        "Příliš žluťoučký kůň",
        "Kırmızı gömlekli çocuk",
        "Мужчина в красной рубашке",
        "رجل يرتدي قميصا",
        "a sign that says “no dogs” – it’s in a café",
        "赤いシャツ",
    ],
)
def test_text_read_in_a_wrong_encoding_scores_0_and_the_same_text_read_rightly_does_not(text: str, codec: str) -> None:
    assert score(text.encode().decode(codec, errors="replace").replace("\ufffd", "")) == 0.0
    assert score(text) == 1.0
