import json
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import AutoModelForZeroShotObjectDetection, AutoTokenizer

from filters import FilterError, ObjectGrounding, build
from filters.images.object_detector import ObjectDetector, object_detector, opened
from filters.models.transformers_checkpoint import Checkpoint
from tests.filters.detectors import grounding_dino
from tests.pictures import encoded, picture

PICTURE, OTHER = encoded(picture(), "PNG"), encoded(picture(90, 40), "PNG")
TWO = "A puppy jumps. A man watches the red tennis racket."


@pytest.fixture(scope="session")
def owl(models: dict[str, str]) -> str:
    return models["object_grounding"]


@pytest.fixture(scope="session")
def dino(tmp_path_factory: pytest.TempPathFactory) -> str:
    return grounding_dino(tmp_path_factory.mktemp("dino") / "model")


def detected(grounding: ObjectGrounding, *captions: tuple[str | None, bytes | None]) -> list[dict[str, object]]:
    frame = pl.DataFrame(captions, {"text": pl.String, "image": pl.Binary}, orient="row")
    return grounding.score(frame).rows(named=True)


def looked_up(folder: Path, text: str, there: object, **params: object) -> dict[str, object]:
    file = folder / "labels.jsonl"
    file.write_text("\n".join(json.dumps({"image_key": key, "objects": there}) for key in ("one", "two")))
    frame = pl.DataFrame({"text": [text], "image_key": ["one"]})
    return ObjectGrounding(labels=str(file), **params).score(frame).row(0, named=True)


# --- labels ---


def test_with_labels_a_sentence_is_as_good_as_its_least_supported_object(tmp_path: Path) -> None:
    text = "A puppy jumps. It is fun. A man watches a dog on the grass."

    row = looked_up(tmp_path, text, ["dog", "frisbee"])

    assert row["score"] == 0.0
    assert row["sentences"] == [
        {"start": 0, "end": 14, "score": 1.0},
        {"start": 15, "end": 25, "score": None},
        {"start": 26, "end": 59, "score": 0.0},
    ]
    assert row["objects"] == [
        {"name": "puppy", "canonical": "dog", "score": 1.0, "found": True},
        {"name": "man", "canonical": "person", "score": 0.0, "found": False},
        {"name": "dog", "canonical": "dog", "score": 1.0, "found": True},
    ]  # grass is of no kind that the labels could have named
    assert row["missing"] == ["man"]
    assert looked_up(tmp_path, text, ["dog"], aggregate="mean")["score"] == 0.5


@pytest.mark.parametrize(
    "there",
    [
        ["Dog", "Tennis Rackets"],
        '["dog", "tennis racket"]',
        "dog; tennis racket",
        [{"label": "dog"}, {"label": "tennis_racket"}],
    ],
)
def test_labels_come_as_lists_json_or_delimited(tmp_path: Path, there: object) -> None:
    assert looked_up(tmp_path, "A dog with a tennis racquet.", there)["score"] == 1.0


def test_a_label_that_no_synonym_has_is_a_kind_of_its_own_and_with_complete_labels_every_noun_counts(
    tmp_path: Path,
) -> None:
    text = "A lamp beside a window."

    assert looked_up(tmp_path, text, ["lamp"])["score"] == 1.0
    assert looked_up(tmp_path, text, ["lamp"], complete=True)["missing"] == ["window"]
    assert looked_up(tmp_path, text, ["dog"])["reason"] == "no_object"


def test_an_image_without_labels_is_not_judged_and_one_with_an_empty_list_is(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("image_key,things\nempty,\nboth,dog\nboth,cat\n")
    frame = pl.DataFrame({"text": ["a dog and a cat"] * 3 + [None], "image_key": ["empty", "both", "other", "both"]})

    scores = ObjectGrounding(labels=str(file), column="things").score(frame)

    assert scores["score"].to_list() == [0.0, 1.0, None, None]
    assert scores["reason"].to_list() == [None, None, "no_labels", None]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.jsonl", '{"image_key": "a", "things": []}', "no column 'objects'; found: image_key, things"),
        ("labels.jsonl", '{"image_key": null, "objects": []}', "row 1 has no image_key"),
        ("labels.csv", 'image_key,objects\na,"[1, 2]"', "row 1, 'objects': 1 is no name"),
        ("labels.csv", 'image_key,objects\na,"[dog"', "row 1, 'objects'"),
        ("labels.parquet", "no parquet", "cannot be read as .parquet"),
        ("labels.txt", "dog", "comes as .parquet, .csv, .jsonl"),
    ],
)
def test_a_labels_file_that_is_none_says_why(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    frame = pl.DataFrame({"text": ["a dog"], "image_key": ["a"]})

    with pytest.raises(FilterError, match=message):
        ObjectGrounding(labels=str(tmp_path / name)).score(frame)


def test_labels_need_no_image_and_no_model(tmp_path: Path) -> None:
    by_labels, by_model = ObjectGrounding(labels="labels.csv"), ObjectGrounding(model="org/model")

    assert (by_labels.needs, by_labels.holds_model) == (("text", "image_key"), False)
    assert (by_model.needs, by_model.holds_model) == (("text", "image"), True)


def test_the_files_that_it_reads_are_known_by_their_content(tmp_path: Path, owl: str) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("image_key,objects\na,dog\n")
    before = ObjectGrounding(labels=str(file)).models()
    file.write_text("image_key,objects\na,dog;cat\n")

    assert set(before) == {"labels"}
    assert ObjectGrounding(labels=str(file)).models() != before
    assert set(ObjectGrounding(model=owl, synonyms=str(file)).models()) == {"model", "synonyms"}
    with pytest.raises(FilterError, match="there is no file"):
        ObjectGrounding(labels="nowhere.csv").models()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "one of model"),
        ({"model": "org/model", "labels": "labels.csv"}, "one of model"),
        ({"model": "org/model", "prompt": "a photo"}, "must hold {} once"),
        ({"model": "org/model", "min_score": 1.5}, "less than or equal to 1"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(FilterError, match=message):
        build("object_grounding", params)


# --- detectors ---


def test_owls_score_is_the_sigmoid_of_the_best_box_for_the_text(owl: str) -> None:
    detector = object_detector(Checkpoint("test", owl, None), "cpu", "float32")
    model, tokenizer = AutoModelForZeroShotObjectDetection.from_pretrained(owl), AutoTokenizer.from_pretrained(owl)
    pixels = detector._processor(images=[opened(PICTURE)], return_tensors="pt")["pixel_values"]
    ids = tokenizer(["a photo of a dog"], padding="max_length", max_length=32, return_tensors="pt")
    with torch.no_grad():
        logits = model(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], pixel_values=pixels).logits

    (found,) = detector.scores(opened(PICTURE), ["dog"], None)

    assert logits.shape == (1, 16, 1)
    assert found == pytest.approx(logits.sigmoid().max().item(), abs=1e-5)


def test_grounding_dinos_score_is_the_best_boxs_mean_over_the_tokens_of_the_name(dino: str) -> None:
    detector = object_detector(Checkpoint("test", dino, None), "cpu", "float32")
    ((spans, ids),) = detector._prompts(["dog", "red cat"])
    tokens = detector._tokenizer.convert_ids_to_tokens(ids)

    first, second = detector.scores(opened(PICTURE), ["dog", "red cat"], None)

    assert ["".join(tokens[start:end]).replace("##", "") for start, end in spans] == ["dog", "redcat"]
    assert 0 <= first <= 1
    assert first != second


def test_more_names_than_a_prompt_holds_are_asked_in_several(dino: str) -> None:
    detector = object_detector(Checkpoint("test", dino, None), "cpu", "float32")
    names = [f"thing {number}" for number in range(40)]

    prompts = detector._prompts(names)

    assert sum(len(spans) for spans, _ in prompts) == 40
    assert max(len(ids) for _, ids in prompts) <= 64
    assert len(detector.scores(opened(PICTURE), names, None)) == 40


@pytest.mark.parametrize("kind", ["owl", "dino"])
def test_what_a_detector_says_depends_on_image_and_caption_alone(kind: str, request: pytest.FixtureRequest) -> None:
    grounding = ObjectGrounding(model=request.getfixturevalue(kind), device="cpu")
    rows = [(TWO, PICTURE), ("a cat and a car", PICTURE), (TWO, OTHER)]

    together = detected(grounding, *rows, *rows[::-1])

    assert together[:3] == together[:2:-1] == [detected(grounding, row)[0] for row in rows]
    first, second = together[0]["sentences"]
    assert together[0]["score"] == min(first["score"], second["score"])
    assert [one["name"] for one in together[0]["objects"]] == ["puppy", "man", "tennis racket"]
    assert together[0]["score"] != together[2]["score"]  # another image


@pytest.mark.parametrize(("least", "missing"), [(0.0, []), (1.0, ["puppy", "man", "tennis racket"])])
def test_the_threshold_changes_what_is_found_and_not_the_score(owl: str, least: float, missing: list[str]) -> None:
    usual = detected(ObjectGrounding(model=owl), (TWO, PICTURE))[0]

    row = detected(ObjectGrounding(model=owl, min_score=least), (TWO, PICTURE))[0]

    assert row["missing"] == missing
    assert row["score"] == usual["score"]


def test_stuff_is_not_asked_about_and_a_caption_of_it_has_no_score(owl: str) -> None:
    row = detected(ObjectGrounding(model=owl), ("Green grass under a blue sky.", PICTURE))[0]

    assert (row["score"], row["objects"], row["reason"]) == (None, [], "no_object")


def test_a_broken_image_has_a_reason_and_a_missing_one_no_score(owl: str) -> None:
    grounding = ObjectGrounding(model=owl)

    rows = detected(grounding, ("a dog", b"none"), ("a dog", PICTURE[:100]), ("a dog", None), (None, PICTURE))

    assert [row["score"] for row in rows] == [None] * 4
    assert [row["reason"] for row in rows] == ["unknown_format", "truncated", None, None]


def test_a_strip_of_one_pixel_is_judged(owl: str, dino: str) -> None:
    strip = encoded(picture(1, 3000), "PNG")

    assert all(
        detected(ObjectGrounding(model=model), ("a dog", strip))[0]["score"] is not None for model in (owl, dino)
    )


def test_a_caption_of_many_objects_is_judged_up_to_the_limit(owl: str) -> None:
    row = detected(ObjectGrounding(model=owl), (". ".join(f"A thing{number}x" for number in range(900)), PICTURE))[0]

    assert len(row["objects"]) == 200
    assert len(row["sentences"]) == 500


def test_another_kind_of_model_is_refused_by_name(models: dict[str, str]) -> None:
    with pytest.raises(FilterError, match=r"is of type 'clip'; detectors of the types owlvit, owlv2, grounding-dino"):
        ObjectDetector(Checkpoint("object_grounding", models["alignment"], None), "cpu", "float32")
    with pytest.raises(FilterError, match="pin it with the 40 hex digits"):
        detected(ObjectGrounding(model="google/owlv2-base-patch16-ensemble"), ("a dog", PICTURE))
