import socket

import polars as pl
import pytest
from PIL import Image, ImageDraw, ImageFont

from factory.demo.scenes import draw_scene, scene_image
from filters import FilterError, OcrConsistency
from filters.wording.claimed_text import claimed_texts, similarity
from tests.pictures import encoded


def sign(*lines: str) -> bytes:
    image = Image.new("RGB", (420, 80 * len(lines) + 40), (250, 250, 245))
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((30, 30 + 80 * number), line, font=ImageFont.load_default(48), fill=(20, 20, 60))
    return encoded(image, "PNG")


def scored(captions: list[tuple[str | None, bytes | None]], **params: object) -> pl.DataFrame:
    return OcrConsistency(**params).score(pl.DataFrame(captions, {"text": pl.String, "image": pl.Binary}, orient="row"))


@pytest.mark.parametrize(
    ("caption", "claims"),
    [
        ('The word "exit" is printed at the top.', ["exit"]),
        ("A poster with “Live Music” and «Ce soir» on it.", ["Live Music", "Ce soir"]),
        ("A sign that says stop on the corner.", ["stop"]),
        ("A sign reading: NO ENTRY.", ["NO ENTRY"]),
        ("A sign reading Welcome to New York hangs there.", ["Welcome to New York"]),
        ("A banner that reads 'Don't Walk' hangs across.", ["Don't Walk"]),
        ("A shirt with the words Just Do It, in white.", ["Just Do It"]),
        ("A STOP sign and a PIZZA HUT logo.", ["STOP", "PIZZA HUT"]),
        ('It says "go", "go" and "on".', ["go", "on"]),
        ("A stop sign by the road.", []),
        ("A man reads a newspaper. He says hello.", []),
        ("A woman is reading Vogue.", []),
        ('A strange " quote and "", and " ".', []),
        ("", []),
    ],
)
def test_claims_are_found(caption: str, claims: list[str]) -> None:
    assert claimed_texts(caption) == claims


def test_claims_are_bounded() -> None:
    assert len(claimed_texts(" ".join(f'"word {number}"' for number in range(100)))) == 32
    assert claimed_texts('"' * 100_000 + "says " * 100_000) == []


@pytest.mark.parametrize(
    ("claim", "lines", "expected"),
    [
        ("no entry", ["NO ENTRY"], 1.0),
        ("No Entry!", ["NOENTRY"], 1.0),
        ("no entry", ["NO", "ENTRY", "except buses"], 1.0),
        ("exit", ["EXlT"], 0.75),
        ("go", ["CARGO"], 0.4),
        ("exit", ["OPEN"], 0.0),
        ("exit", [], 0.0),
        ("straße", ["STRASSE"], 1.0),
        ("live music", ["LIVEMUSICTONIGHT"], 1.0),
    ],
)
def test_similarity_is_that_of_the_most_similar_stretch(claim: str, lines: list[str], expected: float) -> None:
    assert similarity(claim, lines) == pytest.approx(expected)


def test_text_that_is_in_the_image_scores_1_and_other_text_low() -> None:
    image = sign("NO ENTRY", "Except buses")

    scores = scored(
        [
            ('A sign that says "no entry".', image),
            ("A sign that says NO ENTRY, and below it, 'except buses'.", image),
            ('A sign that says "no entry" and "free parking".', image),
        ]
    )

    assert scores["score"][:2].to_list() == [1.0, 1.0]
    assert scores["score"][2] < 0.5
    assert scores["missing"].to_list() == [[], [], ["free parking"]]
    assert [len(one) for one in scores["similarity"]] == [1, 1, 2]
    assert "NO ENTRY" in scores["found"][0]


def test_captions_that_claim_no_text_have_no_score_and_are_not_read() -> None:
    scores = scored([("A red sign.", sign("STOP")), (None, sign("STOP")), ('It says "stop".', None)])

    assert scores["score"].to_list() == [None] * 3
    assert scores["claimed"].to_list() == [[], None, None]
    assert scores["found"].to_list() == [None] * 3


def test_an_image_that_cannot_be_decoded_has_a_reason_and_one_without_text_scores_0() -> None:
    scores = scored([('It says "stop".', b"no image"), ('It says "stop".', encoded(Image.new("RGB", (9, 9)), "PNG"))])

    assert scores["score"].to_list() == [None, 0.0]
    assert scores["reason"].to_list() == ["unknown_format", None]
    assert scores["found"].to_list() == [None, []]


def test_words_of_demo_scenes_are_told_from_other_words() -> None:
    scenes = [scene for scene in (draw_scene(0, index, "heldout") for index in range(60)) if scene.word][:8]
    right = [(f'The word "{scene.word.word}" is printed.', scene_image(scene)) for scene in scenes if scene.word]
    wrong = [(caption, image) for (caption, _), (_, image) in zip(right, right[1:] + right[:1], strict=True)]
    alike = [one[0] == other[0] for one, other in zip(right, right[1:] + right[:1], strict=True)]

    found, other = scored(right)["score"], scored(wrong)["score"]

    assert found.mean() >= 0.9
    assert all(score < 0.75 for score, same in zip(other, alike, strict=True) if not same)


def test_a_strip_is_read_and_takes_no_longer_than_a_square() -> None:
    image = Image.new("RGB", (1600, 36), (250, 250, 245))
    ImageDraw.Draw(image).text((700, 4), "PLATFORM", font=ImageFont.load_default(24), fill=(20, 20, 60))

    assert scored([('It says "platform".', encoded(image, "PNG"))])["score"].item() >= 0.75
    assert scored([('It says "platform".', encoded(Image.new("RGB", (2, 1500), "red"), "PNG"))])["score"].item() == 0.0


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)

    assert scored([('It says "stop".', sign("STOP"))], min_confidence=0.4)["score"].item() == 1.0
    assert set(OcrConsistency().models()) == {"detection", "recognition"}


def test_models_that_are_not_there_are_named_with_what_to_give() -> None:
    with pytest.raises(FilterError, match=r"ocr_consistency\.detection: there is no file 'missing\.onnx'"):
        scored([('It says "stop".', sign("STOP"))], detection="missing.onnx")


def test_a_file_that_is_no_model_is_named(tmp_path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")

    with pytest.raises(FilterError, match=r"model\.onnx' .*cannot be loaded"):
        scored([('It says "stop".', sign("STOP"))], recognition=str(tmp_path / "model.onnx"))
