from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import FilterError
from filters.wording.object_words import COCO_OBJECTS, objects_of, singular, vocabulary

KNOWN = vocabulary()


@pytest.mark.parametrize(
    ("sentence", "names"),
    [
        ("A small brown dog and two cats sit on a wooden bench.", ["dog", "cat", "bench"]),
        ("A man grazes his knee while zebras graze.", ["man", "knee", "zebra"]),
        ("Two people walking down a snow-covered street.", ["person", "street"]),
        ("A group of people with slices of pizza and pizza slices.", ["person", "pizza", "pizza"]),
        ("A woman playing tennis holds a tennis racket and a football.", ["woman", "tennis racket", "football"]),
        ("The man's hat hangs near a fruit stand.", ["man", "hat", "fruit stand"]),
        ("In the background of the image, there are several cars parked at the side.", ["car"]),
        ("It creates a sense of calm and a peaceful atmosphere in the afternoon.", []),
        ("She is ready to board passengers who want to relax.", ["passenger"]),
        ("An orange next to an orange cat dressed in orange.", ["orange", "cat"]),
        ("THERE ARE 12 Dogs, a parking meter.", ["dog", "parking meter"]),
        ("A kite resembling a boat over a trash can, which suggests wind.", ["kite", "trash can"]),
        ("", []),
        ("海辺の犬。", []),
    ],
)
def test_objects_are_the_heads_of_noun_phrases(sentence: str, names: list[str]) -> None:
    assert [one.name for one in objects_of(sentence, KNOWN)] == names


@pytest.mark.parametrize(
    "sentence",
    [
        "There are no dogs or cats.",
        "A bench without a dog.",
        "It looks like a dog.",
        "That is not a dog.",
    ],
)
def test_what_a_sentence_denies_or_compares_with_is_not_named(sentence: str) -> None:
    assert not {"dog", "cat"} & {one.name for one in objects_of(sentence, KNOWN)}


@pytest.mark.parametrize(
    ("sentence", "kinds"),
    [
        ("a puppy on a sofa beside a tv", ["dog", "couch", "tv"]),
        ("a wooden dining table in a train station", ["dining table", None]),
        ("two teddy bears, a polar bear and a hot dog", ["teddy bear", "bear", "hot dog"]),
        ("knives, buses, women, cell phones and wine glasses", ["knife", "bus", "person", "cell phone", "wine glass"]),
        ("a toilet seat and a baby elephant", ["toilet", "elephant"]),
        ("a dog house with a car seat cover", [None, None]),
    ],
)
def test_synonyms_of_an_object_have_one_name_and_its_modifiers_none(sentence: str, kinds: list[str | None]) -> None:
    assert [one.canonical for one in objects_of(sentence, KNOWN)] == kinds


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("dogs", "dog"), ("benches", "bench"), ("boxes", "box"), ("cherries", "cherry"), ("potatoes", "potato"),
        ("pizzas", "pizza"), ("children", "child"), ("bus", "bus"), ("glass", "glass"), ("tennis", "tennis"),
        ("scissors", "scissors"), ("sheep", "sheep"), ("ties", "tie"), ("umbrellas", "umbrella"),
    ],
)  # fmt: skip
def test_plurals_become_singular(plural: str, one: str) -> None:
    assert singular(plural) == one


def test_the_table_that_is_shipped_has_the_80_classes_of_mscoco_and_no_word_twice() -> None:
    assert len(KNOWN.names) == 80
    assert {"sports ball", "skis", "tv", "person"} <= KNOWN.names
    assert vocabulary(COCO_OBJECTS) == KNOWN  # a word of two classes is an error


def test_a_vocabulary_is_json_or_lines_as_chairs_own(tmp_path: Path) -> None:
    lines, data = tmp_path / "synonyms.txt", tmp_path / "synonyms.json"
    lines.write_text("dog, puppy\ntraffic light, stoplight\n\n")
    data.write_text('{"dog": ["Puppies"], "traffic_light": ["stoplight"]}')

    assert vocabulary(lines) == vocabulary(data)
    assert vocabulary(lines).canonical("small Puppies") == "dog"
    assert vocabulary(lines).canonical("cat") is None
    assert vocabulary(lines).also(["Cats", "puppy"]).names == {"dog", "traffic light", "cat"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"dog": "puppy"}', "'dog' must have a list"),
        ("dog, pet\ncat, pet", "'pet' is of both 'dog' and 'cat'"),
        ("", "names no object"),
        ("{", "cannot be read"),
    ],
)
def test_a_vocabulary_that_is_none_says_why(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "synonyms.txt"
    file.write_text(content)

    with pytest.raises(FilterError, match=message):
        vocabulary(file)


def test_a_missing_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(FilterError, match=r"missing\.json"):
        vocabulary(tmp_path / "missing.json")


@given(st.text(max_size=200))
def test_a_sentence_may_be_anything(text: str) -> None:
    for one in objects_of(text, KNOWN):
        assert one.name.endswith(one.head)
        assert one.canonical is None or one.canonical in KNOWN.names


def test_a_sentence_of_any_length_takes_no_long_time() -> None:
    assert objects_of("x" * 1_000_000, KNOWN)
    assert len(objects_of("a dog and " * 200_000, KNOWN)) <= 2_000
