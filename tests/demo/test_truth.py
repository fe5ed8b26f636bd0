"""The truth: it accepts every sentence of the language, finds every planted error, and survives any text."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.demo.claims import ERROR_TYPES, CountClaim, ThingClaim, WordClaim
from factory.demo.language import (
    detailed_caption,
    falsified,
    list_sentence,
    scene_claims,
    sentence,
    short_caption,
    statement,
)
from factory.demo.scenes import COLOURS, PLACES, SHAPES, SIZES, WORDS, PrintedWord, Scene, Thing, draw_scene
from factory.demo.truth import (
    judge_caption,
    judge_caption_of,
    judge_captions,
    parse_sentence,
    sentence_accuracy,
)

SCENE = Scene(
    "world",
    0,
    0,
    (
        Thing("circle", "red", "small", "top left"),
        Thing("square", "blue", "large", "center"),
        Thing("circle", "red", "small", "right"),
    ),
    PrintedWord("stop", "bottom"),
)


def errors(text):
    verdicts = judge_caption_of(text, SCENE).sentences
    assert [verdict.parsed for verdict in verdicts] == [True]
    assert verdicts[0].correct == (not verdicts[0].errors)
    return verdicts[0].errors


def test_every_true_caption_is_correct():
    rng = random.Random(0)
    for index in range(500):
        scene = draw_scene(9, index)
        for caption in (detailed_caption(scene, rng), short_caption(scene, rng)):
            assert judge_caption(caption, scene.key, 9).correct, caption


THINGS = st.builds(
    ThingClaim,
    *(st.none() | st.sampled_from(sorted(values)) for values in (SHAPES, COLOURS, SIZES, PLACES)),
)


@given(
    THINGS
    | st.builds(CountClaim, st.integers(0, 5))
    | st.builds(WordClaim, st.sampled_from(WORDS), st.none() | st.sampled_from(PLACES)),
    st.integers(0, 2),
)
def test_every_sentence_of_the_language_is_read_back(claim, wording):
    assert parse_sentence(sentence(claim, wording)) == [claim]


@given(st.lists(THINGS | st.builds(WordClaim, st.sampled_from(WORDS)), min_size=1, max_size=5), st.integers(0, 99))
def test_every_list_of_the_language_is_read_back(claims, seed):
    unplaced = [c if isinstance(c, WordClaim) else ThingClaim(c.shape, c.colour, c.size) for c in claims]
    assert parse_sentence(list_sentence(unplaced, random.Random(seed))) == unplaced


def test_every_planted_error_is_found_with_its_type():
    rng = random.Random(1)
    found = set()
    for index in range(600):
        scene = draw_scene(3, index)
        claims = scene_claims(scene)
        position = rng.randrange(len(claims))
        changed = falsified([claims[position]], scene, rng)
        if changed is None:
            continue
        (claims[position],), kind = changed
        caption = " ".join(sentence(claim, rng.randrange(3)) for claim in claims)
        verdicts = judge_caption(caption, scene.key, 3).sentences
        assert [i for i, verdict in enumerate(verdicts) if not verdict.correct] == [position]
        assert verdicts[position].errors == (kind,)
        found.add(kind)
    assert found == set(ERROR_TYPES)


def test_statements_are_judged_as_they_were_made():
    rng = random.Random(2)
    for index in range(400):
        scene = draw_scene(4, index)
        made = statement(scene, rng)
        verdict = judge_caption_of(made.text, scene)
        assert verdict.correct == made.true
        assert [s.errors for s in verdict.sentences if s.errors] == ([] if made.true else [(made.error,)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A small red circle is at the top left.", ()),
        ("A small red star is at the top left.", ("shape",)),
        ("A small blue circle is at the top left.", ("colour",)),
        ("A large red circle is at the top left.", ("size",)),
        ("A small red circle is at the top.", ("place",)),
        ("There are two shapes.", ("count",)),
        ('The word "go" is printed at the bottom.', ("text",)),
        ('The word "stop" is printed at the top.', ("place",)),
        ("A large green star is at the top left.", ("shape", "colour", "size")),
        ("A small red circle and a small red circle.", ()),
        ("A small red circle, a small red circle and a small red circle.", ("shape", "colour", "size")),
        ("A shape, a shape, a shape and a shape.", ("count",)),
        ('A large blue square and the word "open".', ("text",)),
    ],
)
def test_errors_have_their_types(text, expected):
    assert errors(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "  a SMALL   red circle\tis at the top left ",
        "A small red circle is at the top left!!",
        "At the top left, there is a small red circle.",
        "This image shows a small red circle, and a large blue square.",
        "the word “Stop” is printed at the bottom",
        "three shapes are visible.",
    ],
)
def test_case_space_and_end_marks_do_not_matter(text):
    assert errors(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "red circle clipart free download",
        "IMG_2041.jpg",
        "A small red circle is",
        "A small circle red.",
        "A small red circle is at the top left of the moon.",
        "The image shows",
        "A cat.",
        'The word "stop is printed.',
        "At the top left there are three shapes.",
    ],
)
def test_a_sentence_outside_the_language_is_not_correct_and_has_no_error_type(text):
    if text == "A small red circle is":
        assert errors(text) == ()  # an unfinished sentence that says something true
        return
    verdict = judge_caption_of(text, SCENE)
    assert verdict.unparsed_sentences == len(verdict.sentences) == 1
    assert not verdict.correct
    assert verdict.sentences[0].errors == ()


@pytest.mark.parametrize("text", ["", "  \n ", "...", '"!?'])
def test_a_text_without_words_has_no_sentences_and_is_not_correct(text):
    assert judge_caption_of(text, SCENE).sentences == ()
    assert not judge_caption_of(text, SCENE).correct


def test_sentences_are_judged_one_by_one():
    verdict = judge_caption_of("There are three shapes. A cat sleeps.\nThere is a small green circle.", SCENE)
    assert [s.correct for s in verdict.sentences] == [True, False, False]
    assert [s.parsed for s in verdict.sentences] == [True, False, True]
    assert (verdict.correct_sentences, verdict.unparsed_sentences) == (1, 1)


def test_many_captions_are_judged_like_each_alone():
    keys = ["scene-0000003", "scene-0000001", "scene-0000003"]
    texts = ["There are two shapes.", "There is one shape. A cat.", ""]
    verdicts = judge_captions(texts, keys, 8)
    assert verdicts == [judge_caption(text, key, 8) for text, key in zip(texts, keys, strict=True)]
    correct = sum(verdict.correct_sentences for verdict in verdicts)
    assert sentence_accuracy(zip(texts, keys, strict=True), 8) == (correct, 3)
    assert sentence_accuracy([], 8) == (0, 0)


def test_captions_without_a_key_each_are_refused():
    with pytest.raises(ValueError, match="one key for each caption"):
        judge_captions(["There is one shape."], [], 0)


VOCABULARY = [
    *[
        "a",
        "an",
        "the",
        "there",
        "is",
        "are",
        "at",
        "on",
        "in",
        "and",
        "of",
        ".",
        ",",
        '"',
        "'",
        "word",
        "image",
        "shows",
        "shapes",
        "shape",
        "one",
        "two",
        "printed",
        "\n",
    ],
    *("small", "large", "red", "blue", "circle", "star", "top", "left", "center", "stop"),
]


@settings(max_examples=300)
@given(st.text() | st.lists(st.sampled_from(VOCABULARY), max_size=20).map(" ".join))
def test_any_text_is_judged(text):
    verdict = judge_caption_of(text, SCENE)
    for judged in verdict.sentences:
        assert judged.text in text
        assert judged.correct == (judged.parsed and not judged.errors)


def test_a_very_long_list_is_judged_quickly():
    text = ", ".join(["a small red circle"] * 2000) + "."
    assert "count" in errors(text)
