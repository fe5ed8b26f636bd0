"""The language: statements are what they say they are, questions have the right answers."""

import random

from factory.demo.claims import ERROR_TYPES, differences
from factory.demo.language import (
    detailed_caption,
    falsified,
    open_question,
    scene_claims,
    short_caption,
    statement,
    yes_no,
)
from factory.demo.scenes import PrintedWord, Scene, Thing, draw_scene

SCENE = Scene(
    "world",
    0,
    0,
    (Thing("circle", "red", "small", "top left"), Thing("square", "orange", "large", "right")),
    PrintedWord("stop", "bottom"),
)


def test_captions_read_as_designed():
    texts = {detailed_caption(SCENE, random.Random(seed)) for seed in range(30)}
    assert (
        "There are two shapes. A small red circle is at the top left. A large orange square is on the right. "
        'The word "stop" is printed at the bottom.'
    ) in texts
    assert len(texts) == 3
    assert 'A small red circle, a large orange square and the word "stop".' in {
        short_caption(SCENE, random.Random(seed)) for seed in range(30)
    }


def test_half_of_the_statements_are_true_and_all_error_types_occur():
    rng = random.Random(0)
    drawn = [statement(draw_scene(0, index), rng) for index in range(2000)]
    assert 0.45 < sum(s.true for s in drawn) / len(drawn) < 0.58
    assert {s.error for s in drawn} == {None, *ERROR_TYPES}


def test_falsified_claims_differ_by_the_one_error_they_name():
    rng = random.Random(1)
    for index in range(300):
        scene = draw_scene(0, index)
        claims = scene_claims(scene)
        changed, kind = falsified(claims, scene, rng)
        assert sum(a != b for a, b in zip(claims, changed, strict=True)) == 1
        assert differences(changed, scene) == (kind,)


def test_questions_are_answered_by_the_truth():
    rng = random.Random(2)
    answers = {}
    for _ in range(400):
        exchange = open_question(SCENE, rng)
        answers.setdefault(exchange.question, set()).add(exchange.answer)
    assert answers["What is at the top left?"] == {"a small red circle"}
    assert answers["What is in the center?"] == {"nothing"}
    assert answers["What is at the bottom right?"] == {'the word "stop"'}
    assert answers["Which colour is on the right?"] == {"orange"}
    assert answers["Where is the orange square?"] == {"on the right"}
    assert answers["How many shapes are there?"] == {"two"}
    assert answers["Which word is printed?"] == {"stop"}
    assert {yes_no(s, rng).answer for s in [statement(SCENE, rng)] * 3} <= {"yes", "no"}
