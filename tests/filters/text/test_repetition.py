import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.filtering import DEFAULTS
from filters import Repetition

PLAIN = "A dog runs on a wide beach while three children build castles of wet sand under grey clouds"
LOOPS = {
    "sentence": f"{PLAIN}. Behind them lies the town. Behind them lies the town.",
    "sentence many times": f"{PLAIN}." + " The sea is calm and blue." * 5,
    "clause": f"{PLAIN}," + " next to a boat," * 4,
    "three words": f"{PLAIN}" + " and the sea" * 3,
    "two words": f"{PLAIN} and" + " so on" * 3,
    "word": "A man weighs fish on a weigh weigh weigh",
    "letter": f"{PLAIN}" + " a" * 6,
    "exclamation marks": f"{PLAIN}!!!!",
    "exclamation marks apart": f"{PLAIN} ! ! ! !",
    "full stops": f"{PLAIN}..........",
    "lines": f"{PLAIN} ----------",
    "letters without end": f"{PLAIN} aaaaaaaaaaaa",
    "digits without end": f"{PLAIN} 00000000000000",
    "syllables without end": f"{PLAIN} hahahahahahahahaha",
}
SAID_BY_PEOPLE = (
    "A girl in a white dress walks next to a girl in a blue dress .",
    "There is a red car on the left side of the road. There is a blue car on the right side of the road.",
    "1st base is to the left and 3rd base is to the right",
    "On the left side of the table stands a glass, and on the right side of the table stands a plate with bread.",
    "A sign says very very good coffee... and tea!",
    "He won 1000000 dollars, phone 555-0000.",
    "New York, New York is the title of the song that they play.",
)


def scores(texts: list[str], **limits: float) -> list[float]:
    return Repetition(**limits).score(pl.DataFrame({"text": texts}))["score"].to_list()


def duplicate_4grams(text: str) -> float:
    """The definition, word by word, for text of ASCII letters."""
    words = re.findall(r"[a-z]+", text.lower())
    inside: set[int] = set()
    seen: set[tuple[str, ...]] = set()
    for start in range(len(words) - 3):
        gram = tuple(words[start : start + 4])
        if gram in seen:
            inside.update(range(start, start + 4))
        seen.add(gram)
    return sum(len(words[i]) for i in inside) / max(1, sum(map(len, words)))


def duplicate_sentences(text: str) -> float:
    """The definition, sentence by sentence, for text of ASCII letters, spaces and full stops."""
    sentences = [s.strip().lower() for s in text.split(".") if len(s.split()) >= 4]
    return 1 - len(set(sentences)) / len(sentences) if sentences else 0.0


def test_a_caption_that_says_each_thing_once_scores_1() -> None:
    assert scores(["A dog runs on the beach. Behind it, a man in a red coat throws a ball."]) == [1.0]


def test_a_loop_scores_0() -> None:
    assert scores(["a cat on a mat and a cat on a mat and a cat on a mat"]) == [0.0]


@pytest.mark.parametrize("kind", LOOPS)
def test_loops_of_every_kind_score_0(kind: str) -> None:
    assert scores([LOOPS[kind]]) == [0.0]


@pytest.mark.parametrize("text", SAID_BY_PEOPLE)
def test_what_people_say_alike_is_kept_by_the_default_threshold(text: str) -> None:
    assert scores([text])[0] >= DEFAULTS["repetition"]


def test_says_whether_it_loops() -> None:
    evidence = Repetition().score(pl.DataFrame({"text": ["so so so good", PLAIN, None]}))

    assert evidence["loops"].to_list() == [True, False, None]


def test_a_sentence_said_twice_of_three_scores_0() -> None:
    assert scores(["A red bus. A red bus stops here. A red bus stops here."]) == [0.0]


def test_a_caption_followed_by_its_restatement_falls_below_the_default_threshold() -> None:
    assert scores(["A man holds an umbrella.\n\nCaption: A man holds an umbrella."])[0] < DEFAULTS["repetition"]


def test_case_and_punctuation_do_not_hide_a_repetition() -> None:
    assert scores(["A man, with an umbrella! a Man with an UMBRELLA"]) == [0.0]


def test_case_does_not_hide_a_repeated_sentence() -> None:
    evidence = Repetition().score(pl.DataFrame({"text": ["It is a dog. IT IS A DOG."]}))

    assert evidence["duplicate_sentences"].to_list() == [0.5]


def test_repeated_words_alone_are_no_repetition() -> None:
    assert scores(["a man and a woman and a boy and a girl and a dog"]) == [1.0]


def test_initials_and_abbreviations_are_no_repeated_sentences() -> None:
    assert scores(["J. J. Abrams and J. J. Cale at the U. S. embassy"]) == [1.0]


def test_a_repetition_across_captions_is_none() -> None:
    assert scores(["a dog runs on the beach", "a dog runs on the beach"]) == [1.0, 1.0]


def test_empty_text_repeats_nothing() -> None:
    assert scores(["", "...", "dog"]) == [1.0, 1.0, 1.0]


def test_a_little_repetition_costs_a_little() -> None:
    once = "the dog runs along a wide and empty beach while three children build castles of wet sand under grey clouds"

    (score,) = scores([f"{once} and the dog runs along with them far into an evening that nobody will forget soon"])

    assert 0.7 < score < 1


def test_looser_limits_give_higher_scores() -> None:
    text = ["A red bus stops here. The street is wide and grey. A red bus stops here."]

    assert scores(text)[0] < 0.3
    assert scores(text, max_duplicate_4grams=1.0, max_duplicate_sentences=1.0)[0] > 0.5


def test_loops_without_spaces_are_seen() -> None:
    assert scores(["海辺の犬、海辺の犬、海辺の犬、海辺の犬", "海辺で犬が走っています"]) == [0.0, 1.0]


def test_says_what_it_counted() -> None:
    evidence = Repetition().score(pl.DataFrame({"text": ["It is a dog. It is a dog. It is a cat. It was a cow."]}))

    assert evidence["duplicate_sentences"].to_list() == [0.25]
    assert evidence["duplicate_4grams"].to_list() == [
        pytest.approx(duplicate_4grams("it is a dog it is a dog it is a cat it was a cow"))
    ]


words_of_few = st.lists(st.sampled_from(["a", "bb", "ccc", "dddd", "a.", "bb."]), max_size=40).map(" ".join)


@settings(deadline=None)
@given(texts=st.lists(words_of_few, min_size=1, max_size=5))
def test_shares_are_those_of_the_definition(texts: list[str]) -> None:
    evidence = Repetition().score(pl.DataFrame({"text": texts}))

    for text, (_, grams, sentences, _) in zip(texts, evidence.iter_rows(), strict=True):
        assert grams == pytest.approx(duplicate_4grams(text))
        assert sentences == pytest.approx(duplicate_sentences(text))


@settings(deadline=None)
@given(middle=words_of_few)
def test_a_caption_exactly_at_a_limit_scores_0(middle: str) -> None:
    text = f"one two three four {middle} one two three four"
    limits = {"max_duplicate_4grams": duplicate_4grams(text), "max_duplicate_sentences": 1.0}

    assert scores([text, text], **limits) == [0.0, 0.0]


@settings(deadline=None)
@given(text=words_of_few, times=st.integers(6, 9))
def test_anything_of_four_words_said_over_and_over_scores_0(text: str, times: int) -> None:
    looped = " ".join([f"one two three four {text}"] * times)

    assert scores([looped]) == [0.0]
