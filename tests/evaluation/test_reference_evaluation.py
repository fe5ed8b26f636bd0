"""`factory evaluate CAPTIONS --references FILE`: CHAIR and matched objects where there are references."""

import json
from pathlib import Path

import polars as pl
import pytest

from factory.errors import RunError
from factory.evaluation.by_references import evaluate_references, read_references
from tests.captioned_run import captioned
from tests.command import fail, succeed

CAPTIONS = [
    {"image_key": "a", "text": "A puppy runs after a frisbee."},
    {"image_key": "b", "text": "A man on a sofa with a cat."},
    {"image_key": "c", "text": "A quiet atmosphere."},
    {"image_key": "d", "text": "Nobody knows this image of a dog."},
    {"image_key": "a", "text": None},
]
REFERENCES = [
    {"image_key": "a", "references": ["A dog catches a frisbee.", "A brown dog on grass."], "objects": None},
    {"image_key": "b", "references": ["A woman sits on a couch."], "objects": ["person", "couch", "remote"]},
    {"image_key": "c", "references": [], "objects": ["bench"]},
    {"image_key": "e", "references": ["A car."], "objects": None},
]


def written(file: Path, rows: list[dict[str, object]]) -> str:
    file.write_text("\n".join(map(json.dumps, rows)))
    return str(file)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    return written(tmp_path / "captions.jsonl", CAPTIONS), written(tmp_path / "references.jsonl", REFERENCES)


def test_captions_are_compared_with_the_references_of_their_image(files: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "objects.parquet"

    found = evaluate_references(*files, out=str(out))

    assert (found.captions, found.images, found.left_out) == (3, 3, 1)
    rates = {name: round(one.value, 4) for name, one in found.rates["before"].items()}
    assert rates == {
        "chair_s": round(1 / 3, 4),  # the cat
        "chair_i": round(1 / 5, 4),
        "recall": round(4 / 6, 4),  # the remote and the bench are not named
        "object_match": round((1.0 + found.table["object_match"][1]) / 2, 4),
        "object_similarity": round((4 + found.table["object_match"][1]) / 5, 4),  # puppy, frisbee, man, sofa; cat
    }
    assert found.commonest == {"cat": 1}
    assert [one["image_key"] for one in found.worst] == ["b"]
    table = pl.read_parquet(out)
    assert table["hallucinated"].to_list() == [[], ["cat"], []]
    assert table["object_match"][0] == 1.0
    assert table["object_match"][2] is None
    assert table["kept"].null_count() == 3


def test_the_command_prints_the_rates_or_one_json_object(files: tuple[str, str], tmp_path: Path) -> None:
    said = succeed("evaluate", files[0], "--references", files[1])
    data = json.loads(succeed("evaluate", files[0], "--references", files[1], "--json", "--out", tmp_path / "out.csv"))

    assert "CHAIRs, captions with a hallucinated object: 0.333" in said
    assert "worst" in said
    assert data["rates"]["before"]["chair_i"]["value"] == 0.2
    assert pl.read_csv(tmp_path / "out.csv")["hallucinated"].to_list()[1] == "cat"


def test_references_come_as_csv_and_parquet_too(files: tuple[str, str], tmp_path: Path) -> None:
    rows = pl.read_ndjson(files[1])
    rows.write_parquet(tmp_path / "references.parquet")
    texts = [json.dumps(row["references"]) for row in REFERENCES]
    labels = [";".join(row["objects"] or []) for row in REFERENCES]
    pl.DataFrame({"image_key": rows["image_key"], "references": texts, "objects": labels}).write_csv(
        tmp_path / "references.csv"
    )

    expected = read_references(files[1])

    assert read_references(str(tmp_path / "references.parquet")) == expected
    assert read_references(str(tmp_path / "references.csv")) == expected


def test_synonyms_of_ones_own_decide_what_is_an_object(files: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("pet, cat, dog, puppy\n")

    found = evaluate_references(*files, synonyms=str(tmp_path / "own.txt"))

    assert found.commonest == {"pet": 1}


def test_a_run_is_evaluated_before_and_after_its_selection(tmp_path: Path) -> None:
    run, _ = captioned(tmp_path, source={"kind": "demo", "scenes": 20, "seed": 3})
    shapes = {"circle": [], "square": [], "triangle": [], "star": []}
    (tmp_path / "shapes.json").write_text(json.dumps(shapes))
    keys = pl.read_parquet(tmp_path / "run" / "selection.parquet")["image_key"].unique().sort().to_list()
    references = written(tmp_path / "shapes.jsonl", [{"image_key": key, "objects": list(shapes)} for key in keys])

    found = evaluate_references(run.url, references, synonyms=str(tmp_path / "shapes.json"))

    assert found.images == 20
    assert found.rates["before"]["chair_s"].value == 0.0  # every shape is allowed everywhere
    assert 0 < found.rates["before"]["recall"].value < 1
    assert set(found.rates) == {"before", "after"}


@pytest.mark.parametrize(
    ("references", "message"),
    [
        ([{"image_key": "z", "references": ["A dog."]}], "no caption's image has a reference: .*'a'.*'z'"),
        ([{"image_key": "a", "labels": ["dog"]}], "need the column image_key and one of references .* and objects"),
        ([{"image_key": None, "references": ["A dog."]}], "row 1 has no image_key"),
        ([{"image_key": "a", "references": [3]}], "row 1: 3 is no name"),
    ],
)
def test_references_that_cannot_be_used_say_why(
    files: tuple[str, str], tmp_path: Path, references: list[dict[str, object]], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        evaluate_references(files[0], written(tmp_path / "wrong.jsonl", references))


def test_a_user_is_told_what_to_do_instead(files: tuple[str, str], tmp_path: Path) -> None:
    assert "no such file" in fail("evaluate", files[0], "--references", tmp_path / "nowhere.csv")
    assert "references come as .parquet" in fail("evaluate", files[0], "--references", tmp_path / "a.xlsx")
    assert "--out" in fail("evaluate", files[0], "--references", files[1], "--out", tmp_path / "a.html")
    assert "needs --references" in fail("evaluate", files[0], "--synonyms", files[1])
