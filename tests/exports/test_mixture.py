"""Mixtures: shares of tokens, what stands in a row, what cannot be met, and what hostile inputs do."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exports.mixture import Mixed, mix, open_mixture, parse_mixture
from exports.mixture.token_counts import pieces, token_counter, words
from exports.release import ReleaseError
from factory.demo.checkpoint import checkpoint_path
from tests.releases import build, noise, row, rows

WORDS_OF_A_ROW = 3 + 3  # "Describe the image." and "A caption N"


@pytest.fixture(autouse=True)
def own_datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def text_file(tmp_path: Path, count: int = 300, name: str = "real.txt") -> str:
    file = tmp_path / name
    file.write_text("".join(f"line {number} of a real text\n" for number in range(count)))
    return str(file)


def interleaved_file(tmp_path: Path, count: int = 20) -> str:
    """As OBELICS has them: at each place a text or an image."""
    content = [
        {
            "texts": [f"before {number}", None, "after <image>"],
            "images": [None, {"bytes": noise(number), "path": None}, None],
        }
        for number in range(count)
    ]
    file = tmp_path / "documents.parquet"
    pq.write_table(pa.Table.from_pylist(content), file)
    return str(file)


def captions(tmp_path: Path, count: int = 40, name: str = "birds") -> str:
    return str(build(tmp_path / name, content=rows(count)).folder)


def with_original(number: int) -> Any:
    return dataclasses.replace(row(number, f"Synthetic {number}"), original=f"Original {number}")


def mixed(tmp_path: Path, parts: dict[str, Any], to: str = "mixture", **settings: Any) -> Mixed:
    content = {"name": "m", "image_tokens": 10, "buffer": 8, **settings, "parts": parts}
    return mix(parse_mixture(content), tmp_path / to)


def loaded(mixture: Mixed) -> list[dict[str, Any]]:
    data = datasets.load_dataset(mixture.to, split="train")
    return list(data.cast_column("images", datasets.List(datasets.Image(decode=False))))


# --- shares ---


def test_shares_are_of_tokens_and_hold_at_every_place(tmp_path: Path) -> None:
    parts = {
        "captions": {"release": captions(tmp_path, 100), "share": 0.45},
        "documents": {"interleaved": interleaved_file(tmp_path, 100), "share": 0.45},
        "text": {"text": text_file(tmp_path), "share": 0.1},
    }
    made = mixed(tmp_path, parts, tokens=2000)
    assert 2000 <= made.tokens <= 2000 + 10 + WORDS_OF_A_ROW
    largest = 10 + WORDS_OF_A_ROW
    seen: Counter[str] = Counter()
    for place, one in enumerate(loaded(made)):
        seen[one["part"]] += one["tokens"]
        for name, part in parts.items():
            assert abs(seen[name] - part["share"] * seen.total()) <= largest, (place, name)
    assert {name: count.tokens for name, count in made.parts.items()} == seen
    assert sum(count.got for count in made.parts.values()) == pytest.approx(1)


def test_a_row_has_messages_texts_or_text_and_images_and_documents_are_untouched(tmp_path: Path) -> None:
    parts = {
        "captions": {"release": captions(tmp_path), "share": 1},
        "documents": {"interleaved": interleaved_file(tmp_path), "share": 1},
        "text": {"text": text_file(tmp_path), "share": 1},
    }
    found = {one["part"]: one for one in loaded(mixed(tmp_path, parts, tokens=200))}
    assert [turn["role"] for turn in found["captions"]["messages"]] == ["user", "assistant"]
    assert len(found["captions"]["images"]) == 1
    document = found["documents"]
    assert document["texts"][1:] == [None, "after <image>"]
    assert document["images"][0]["bytes"] == noise(int(document["texts"][0].split()[1]))
    assert (found["text"]["images"], found["text"]["messages"]) == ([], None)
    assert found["text"]["text"].startswith("line ")
    assert {name: one["kind"] for name, one in found.items()} == {
        "captions": "captions",
        "documents": "interleaved",
        "text": "text",
    }


def test_dreamed_captions_stand_without_their_images(tmp_path: Path) -> None:
    parts = {
        "dreams": {"release": captions(tmp_path), "images": False, "share": 1},
        "real": {"text": text_file(tmp_path), "share": 1},
    }
    made = mixed(tmp_path, parts)
    assert made.ended == "dreams"
    assert made.parts["dreams"].words == 40 * 3
    found = loaded(made)
    assert not any(one["images"] for one in found)
    dreamed = {one["text"] for one in found if one["part"] == "dreams"}
    assert dreamed == {f"A caption {number}" for number in range(40)}
    assert "ends where the part 'dreams'" in "\n".join(made.lines())


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_an_image_has_its_synthetic_caption_with_this_probability(tmp_path: Path, probability: float) -> None:
    content = [with_original(number) for number in range(300)] + [row(number) for number in range(300, 310)]
    release = str(build(tmp_path / "birds", content=content).folder)
    made = mixed(tmp_path, {"captions": {"release": release, "view": "self", "synthetic": probability, "share": 1}})
    told = [one["messages"][1]["content"].split()[0] for one in loaded(made)]
    assert len(told) == 300
    assert made.parts["captions"].left_out == {"not_both": 10}
    assert abs(told.count("Synthetic") / 300 - probability) < 0.08


def test_a_higher_probability_changes_originals_alone(tmp_path: Path) -> None:
    release = str(build(tmp_path / "birds", content=[with_original(number) for number in range(100)]).folder)

    def synthetic(probability: float) -> set[str]:
        part = {"release": release, "view": "self", "synthetic": probability, "share": 1}
        found = loaded(mixed(tmp_path, {"captions": part}, f"at-{probability}"))
        return {one["id"] for one in found if one["messages"][1]["content"].startswith("Synthetic")}

    assert synthetic(0.2) < synthetic(0.6)


def test_earlier_rounds_are_replayed_or_replaced(tmp_path: Path) -> None:
    rounds = [str(build(tmp_path / name, content=rows(5, name)).folder) for name in ("one", "two")]

    def told(replay: str) -> set[str]:
        found = loaded(mixed(tmp_path, {"c": {"release": rounds, "replay": replay, "share": 1}}, replay))
        return {one["messages"][1]["content"].split()[0] for one in found}

    assert told("accumulate") == {"one", "two"}
    assert told("replace") == {"two"}


def test_captions_together_are_documents(tmp_path: Path) -> None:
    made = mixed(tmp_path, {"pages": {"release": captions(tmp_path, 7), "together": 3, "share": 1}})
    found = loaded(made)
    assert sorted(len(one["images"]) for one in found) == [1, 3, 3]
    assert all(one["texts"][0] is None and one["texts"].count(None) == len(one["images"]) for one in found)


def test_a_question_and_its_answer_are_a_conversation(tmp_path: Path) -> None:
    told = ["Where is it? on the left", "No question here", "What? ", "Is it? Yes? No."]
    release = str(build(tmp_path / "birds", content=[row(number, text) for number, text in enumerate(told)]).folder)
    made = mixed(tmp_path, {"qa": {"release": release, "answers": True, "share": 1}})
    asked = {one["messages"][0]["content"]: one["messages"][1]["content"] for one in loaded(made)}
    assert asked == {"Where is it?": "on the left", "Is it?": "Yes? No."}
    assert made.parts["qa"].left_out == {"no_question": 2}


# --- the same again ---


def test_the_same_inputs_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    parts = {
        "captions": {"release": captions(tmp_path), "share": 2},
        "text": {"text": text_file(tmp_path), "share": 1},
    }

    def content(to: str, **settings: Any) -> dict[str, bytes]:
        made = mixed(tmp_path, parts, to, tokens=400, **settings)
        return {path.name: path.read_bytes() for path in sorted(Path(made.to).rglob("*")) if path.is_file()}

    assert content("one") == content("two")
    assert content("one-more", seed=1)["train-00000.parquet"] != content("last")["train-00000.parquet"]


def test_no_document_repeats_before_all_were_read_and_none_more_often_than_epochs(tmp_path: Path) -> None:
    release = captions(tmp_path, 10)
    made = mixed(tmp_path, {"captions": {"release": release, "share": 1, "epochs": 3}})
    ids = [one["id"] for one in loaded(made)]
    assert set(Counter(ids).values()) == {3}
    assert len(set(ids[:10])) == len(set(ids[10:20])) == 10
    assert ids[:10] != ids[10:20]
    assert made.parts["captions"].epochs == 3


# --- what cannot be met ---


def test_shares_that_cannot_be_met_say_which_part_ends_and_what_to_change(tmp_path: Path) -> None:
    parts = {
        "captions": {"release": captions(tmp_path, 10), "share": 0.5},
        "text": {"text": text_file(tmp_path), "share": 0.5},
    }
    with pytest.raises(ReleaseError) as error:
        mixed(tmp_path, parts, tokens=1000)
    assert "the part 'captions' ends after 160 tokens in 1 epoch(s), and 50.0% of 1,000 tokens are 500" in str(
        error.value
    )
    assert "parts.captions.epochs: 4, or tokens: 320, or parts.captions.share: 0.0952" in str(error.value)
    assert not (tmp_path / "mixture").exists()
    assert not list(tmp_path.glob(".building-*"))
    mixed(tmp_path, {**parts, "captions": {**parts["captions"], "epochs": 4}}, "epochs", tokens=1000)
    mixed(tmp_path, parts, "tokens", tokens=320)
    mixed(tmp_path, {**parts, "captions": {**parts["captions"], "share": 0.0952}}, "share", tokens=1000)


def test_a_part_without_a_usable_document_says_why(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"parts\.c: .*4 no kept caption of that view"):
        mixed(tmp_path, {"c": {"release": captions(tmp_path, 4), "view": "spatial", "share": 1}})


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"share": 1}, "name one of release, interleaved and text; got none"),
        ({"share": 1, "text": "a.txt", "release": "b"}, "got release and text"),
        ({"share": 1, "text": "a.txt", "view": "self"}, "view does not belong to text"),
        ({"share": 1, "release": "a", "column": "t"}, "column does not belong to release"),
        ({"share": 0, "text": "a.txt"}, "greater than 0"),
        ({"share": 1, "text": "a.txt", "epoch": 2}, "did you mean 'epochs'"),
        ({"text": "a.txt"}, "parts.p.share: this key is missing"),
        ({"share": 1, "release": "a", "synthetic": 1.5}, "less than or equal to 1"),
    ],
)
def test_a_mistake_in_a_mixture_file_is_named(part: dict[str, Any], words: str) -> None:
    with pytest.raises(ReleaseError, match=words):
        parse_mixture({"name": "m", "parts": {"p": part}})


# --- foreign files ---


def test_what_cannot_be_used_is_counted_with_its_reason_and_no_file_outside_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "good.png").write_bytes(noise(1))
    (tmp_path / "secret.png").write_bytes(noise(2))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    content = [
        {"texts": ["a", None], "images": [None, "good.png"]},
        {"texts": ["a", None], "images": ["good.png"]},  # as a mixture writes them
        {"texts": ["a", None], "images": [None, "../secret.png"]},
        {"texts": ["a", None], "images": [None, "link.png"]},
        {"texts": ["a", None], "images": [None, str(tmp_path / "secret.png")]},
        {"texts": ["a", None], "images": [None, "https://example.org/a.png"]},
        {"texts": ["a"], "images": [None, "good.png"]},
        {"texts": "a", "images": []},
        {"texts": [None], "images": [{"bytes": None, "path": None}]},
        [1],
    ]
    lines = [json.dumps(one).encode() for one in content] + [b"{broken", b"[" * 100_000, b"\xff\xfe"]
    (folder / "pages.jsonl").write_bytes(b"\n".join(lines))
    made = mixed(tmp_path, {"pages": {"interleaved": str(folder / "*.jsonl"), "share": 1}})
    assert made.rows == 2
    assert all(one["images"][0]["bytes"] == noise(1) for one in loaded(made))
    assert made.parts["pages"].left_out == {
        "image_elsewhere": 4,
        "no_image": 1,
        "not_interleaved": 2,
        "not_json": 3,
        "not_utf8": 1,
    }


def test_texts_are_read_from_lines_json_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "b.jsonl").write_text('{"body": "three"}\n{"other": 1}\n')
    pq.write_table(pa.table({"body": ["four", None]}), tmp_path / "c.parquet")
    part = {"text": [str(tmp_path / "[a-c].*")], "column": "body", "share": 1}
    made = mixed(tmp_path, {"t": part})
    assert {one["text"] for one in loaded(made)} == {"one", "two", "three", "four"}
    assert made.parts["t"].left_out == {"no_text": 3}
    with pytest.raises(ReleaseError, match=r"has no column text \(it has body\), or name it with `column`"):
        mixed(tmp_path, {"t": {"text": str(tmp_path / "c.parquet"), "share": 1}}, "other")
    with pytest.raises(ReleaseError, match=r"parts\.t: no file .*nowhere"):
        mixed(tmp_path, {"t": {"text": str(tmp_path / "nowhere.txt"), "share": 1}}, "other")


def test_short_texts_are_left_out_and_long_ones_cut_between_words(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two\n" + " ".join(map(str, range(25))) + "\n")
    made = mixed(tmp_path, {"t": {"text": str(tmp_path / "a.txt"), "shortest": 3, "longest": 10, "share": 1}})
    assert sorted(len(one["text"].split()) for one in loaded(made)) == [5, 10, 10]
    assert made.parts["t"].left_out == {"short": 1}
    assert made.parts["t"].cut == 1


# --- counting, the card, the manifest ---


def test_tokens_are_those_of_the_tokenizer(tmp_path: Path) -> None:
    base = str(checkpoint_path("base"))
    count = token_counter(base)
    text = "There is a large red circle at the top left."
    assert count(text) > 0
    assert all(count(one) <= 5 for one in pieces(text, 5, count))
    assert " ".join(pieces(text, 5, count)) == text
    made = mixed(tmp_path, {"t": {"text": text_file(tmp_path, 3), "share": 1}}, tokenizer=base)
    assert made.tokens == sum(count(f"line {number} of a real text") for number in range(3))
    with pytest.raises(ReleaseError, match=r"name a directory that holds a tokenizer\.json"):
        token_counter(str(tmp_path))


def test_the_card_and_the_manifest_say_shares_and_inputs(tmp_path: Path) -> None:
    parts = {
        "captions": {"release": captions(tmp_path), "share": 1},
        "text": {"text": text_file(tmp_path), "share": 1},
    }
    made = mixed(tmp_path, parts, tokens=300)
    card = (Path(made.to) / "README.md").read_text()
    assert f"| captions | captions | 50.0000% | {made.parts['captions'].got:.4%} |" in card
    manifest = json.loads((Path(made.to) / "manifest.json").read_text())
    assert list(manifest["inputs"]) == ["captions", "text"]
    assert set(manifest["inputs"]["captions"][0]) == {"release", "manifest_sha256"}
    assert str(tmp_path) not in json.dumps(manifest) + card
    assert open_mixture(made.to, check=True) == made


def test_a_damaged_mixture_is_named(tmp_path: Path) -> None:
    made = mixed(tmp_path, {"t": {"text": text_file(tmp_path), "share": 1}})
    file = Path(made.data_files()[0])
    file.write_bytes(file.read_bytes()[::-1])
    with pytest.raises(ReleaseError, match="has other bytes than its manifest says"):
        open_mixture(made.to, check=True)
    file.write_bytes(b"")
    with pytest.raises(ReleaseError, match="is not the file of its manifest"):
        open_mixture(made.to)
    with pytest.raises(ReleaseError, match="holds no mixture"):
        open_mixture(tmp_path)


def test_words_are_between_white_space() -> None:
    assert words(" a  b\nc ") == 3
