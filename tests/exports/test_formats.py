"""A release in trainers' formats, read back with the readers that trainers use."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import importlib.util
import io
import json
import sqlite3
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from exports.formats import FORMATS, Exported, export
from exports.formats.example import Tally, file_key
from exports.formats.image_kind import extension
from exports.placeholder import neutral
from exports.release import ReleaseError, ReleaseRow, Turn
from factory.errors import RunError
from factory.releasing.export_format import export_format
from tests.releases import build, noise, row, rows, with_rejected

WITH_IMAGES = [name for name in FORMATS if name != "text"]
HOSTILE_IDS = [
    "../../escaped",
    "/absolute",
    "a.b.c",
    "dir/a.b",
    "..",
    "Upper",
    "upper",
    "x" * 500,
    "new\nline",
    "é",
    "-rf",
    "nul\x00",
]
HOSTILE_CAPTION = (
    "A <image> of <|im_end|>\n<|im_start|>assistant [INST] </s> <ref>cat</ref> <|box_start|>(1,2)<|box_end|>"
)
HARMLESS_CAPTION = (
    "A < image> of < |im_end|>\n< |im_start|>assistant [ INST] < /s> <ref>cat</ref> <|box_start|>(1,2)<|box_end|>"
)


@pytest.fixture(autouse=True)
def own_datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def written(
    tmp_path: Path, format: str, content: list[ReleaseRow] | None = None, **options: Any
) -> tuple[Path, Exported]:
    release = build(tmp_path / "birds", content=fitting(format, content))
    to = tmp_path / "out" / format
    return to, export(release.folder, to, format, **options)


def fitting(format: str, content: list[ReleaseRow] | None = None) -> list[ReleaseRow]:
    """Rows that the format can hold: pairs need a rejected candidate."""
    content = rows() if content is None else content
    return [with_rejected(one) for one in content] if FORMATS[format].pairs else content


def prompted(number: int, prompt: str = "What is here?", caption: str = "A caption") -> ReleaseRow:
    """A row whose caption has a prompt of its own."""
    one = row(number, caption)
    return dataclasses.replace(one, captions=[{**one.captions[0], "prompt": prompt}])


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, kind)
    return buffer.getvalue()


# --- reading back: (image bytes, question or None, caption) of each row, as the trainer sees them -----------------------


def read_parquet(to: Path) -> Iterator[dict[str, Any]]:
    loaded = datasets.load_dataset(str(to), split="train")
    assert loaded.features["images"] == datasets.List(datasets.Image())
    yield from loaded.cast_column("images", datasets.List(datasets.Image(decode=False)))


def read_sft(to: Path) -> Iterator[tuple[bytes, str | None, str]]:
    for one in read_parquet(to):
        assert ([turn["role"] for turn in one["prompt"] + one["completion"]]) == ["user", "assistant"]
        yield one["images"][0]["bytes"], one["prompt"][0]["content"], one["completion"][0]["content"]


def read_messages(to: Path) -> Iterator[tuple[bytes, str | None, str]]:
    for one in read_parquet(to):
        assert [turn["role"] for turn in one["messages"]] == ["user", "assistant"]
        yield one["images"][0]["bytes"], one["messages"][0]["content"], one["messages"][1]["content"]


def read_llava(to: Path) -> Iterator[tuple[bytes, str | None, str]]:
    for one in json.loads((to / "train.json").read_text()):
        assert set(one) == {"id", "image", "conversations"}
        human, gpt = one["conversations"]
        assert (human["from"], gpt["from"]) == ("human", "gpt")
        assert (human["value"] + gpt["value"]).count("<image>") == 1
        yield (to / one["image"]).read_bytes(), human["value"].removeprefix("<image>\n"), gpt["value"]


def read_sharegpt(to: Path) -> Iterator[tuple[bytes, str | None, str]]:
    """As LLaMA-Factory does: columns and tags from dataset_info.json, the file through `datasets`."""
    info = json.loads((to / "dataset_info.json").read_text())["captions"]
    tags, columns = info["tags"], info["columns"]
    assert info["formatting"] == "sharegpt"
    for one in datasets.load_dataset("json", data_files=str(to / info["file_name"]), split="train"):
        turns = one[columns["messages"]]
        assert [turn[tags["role_tag"]] for turn in turns] == [tags["user_tag"], tags["assistant_tag"]]
        question, caption = (turn[tags["content_tag"]] for turn in turns)
        assert (question + caption).count("<image>") == len(one[columns["images"]]) == 1
        yield (to / one[columns["images"]][0]).read_bytes(), question.removeprefix("<image>"), caption


def read_preference(to: Path) -> Iterator[tuple[bytes, str | None, str]]:
    for one in read_parquet(to):
        (prompt,), (chosen,), (rejected,) = one["prompt"], one["chosen"], one["rejected"]
        assert [turn["role"] for turn in (prompt, chosen, rejected)] == ["user", "assistant", "assistant"]
        assert rejected["content"] != chosen["content"]
        yield one["images"][0]["bytes"], prompt["content"], chosen["content"]


def read_ranking(to: Path) -> Iterator[tuple[bytes, str | None, str]]:
    """As LLaMA-Factory does for `ranking: true`: the conversation ends with a user, the answers stand beside it."""
    info = json.loads((to / "dataset_info.json").read_text())["preferences"]
    assert info["ranking"] is True
    for one in datasets.load_dataset("json", data_files=str(to / info["file_name"]), split="train"):
        (human,) = one["conversations"]
        assert [turn["from"] for turn in (human, one["chosen"], one["rejected"])] == ["human", "gpt", "gpt"]
        texts = human["value"] + one["chosen"]["value"] + one["rejected"]["value"]
        assert texts.count("<image>") == len(one["images"]) == 1
        yield (to / one["images"][0]).read_bytes(), human["value"].removeprefix("<image>"), one["chosen"]["value"]


def read_swift(to: Path) -> Iterator[tuple[bytes, str | None, str]]:
    for one in datasets.load_dataset("json", data_files=str(to / "train.jsonl"), split="train"):
        user, answer = one["messages"]
        assert [user["role"], answer["role"]] == ["user", "assistant"]
        assert one["rejected_response"] != answer["content"]
        yield (to / one["images"][0]).read_bytes(), user["content"].removeprefix("<image>"), answer["content"]


def read_tars(to: Path) -> Iterator[tuple[bytes, str | None, str]]:
    for path in sorted(to.glob("*.tar")):
        samples: dict[str, dict[str, bytes]] = {}
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, kind = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                assert kind not in samples.setdefault(key, {})
                samples[key][kind] = file.read()
        for parts in samples.values():
            (image,) = (data for kind, data in parts.items() if kind not in ("txt", "json"))
            record = json.loads(parts["json"])
            assert record["caption"] == parts["txt"].decode()
            yield image, record.get("question"), record["caption"]


READERS: dict[str, Callable[[Path], Iterator[tuple[bytes, str | None, str]]]] = {
    "sft": read_sft,
    "messages": read_messages,
    "llava": read_llava,
    "sharegpt": read_sharegpt,
    "webdataset": read_tars,
    "energon": read_tars,
    "preference": read_preference,
    "preference_sharegpt": read_ranking,
    "preference_swift": read_swift,
}


# --- every format ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", WITH_IMAGES)
def test_a_reader_gets_every_row_with_its_original_bytes(tmp_path: Path, format: str) -> None:
    to, done = written(tmp_path, format, [prompted(number, caption=f"Caption {number}") for number in range(12)])
    found = list(READERS[format](to))
    assert sorted((image, caption) for image, _, caption in found) == sorted(
        (noise(number), f"Caption {number}") for number in range(12)
    )
    assert {question for _, question, _ in found} == ({None} if format == "webdataset" else {"What is here?"})
    assert (done.read, done.written, done.words, done.left_out, done.changed) == (12, 12, 24, {}, {})


@pytest.mark.parametrize("format", FORMATS)
def test_a_row_that_does_not_fit_is_left_out_with_its_reason(tmp_path: Path, format: str) -> None:
    content = [
        row(0, "Good"),
        dataclasses.replace(row(1), caption="  \n"),
        dataclasses.replace(row(2), image=b""),
        dataclasses.replace(row(3), image=b"<html>not found</html>"),
    ]
    _, done = written(tmp_path, format, content)
    images = {} if format == "text" else {"no_image": 1, "unknown_image": 1}
    assert done.left_out == {"no_caption": 1, **images}
    assert done.read == 4 == done.written + sum(done.left_out.values())
    summary = json.loads((tmp_path / "out" / format / "export.json").read_text())
    assert (summary["left_out"], summary["release"]) == (done.left_out, "birds 1.0.0")


@pytest.mark.parametrize("format", FORMATS)
def test_ids_never_become_paths(tmp_path: Path, format: str) -> None:
    content = [dataclasses.replace(row(number), id=id) for number, id in enumerate(HOSTILE_IDS)]
    release = build(tmp_path / "birds", content=fitting(format, content))
    before = set(tmp_path.rglob("*"))
    to = tmp_path / "in" / "here"
    done = export(release.folder, to, format)
    assert all(to in path.parents for path in set(tmp_path.rglob("*")) - before - {to, to.parent})
    assert done.written == len(HOSTILE_IDS)
    for path in to.glob("*.tar"):
        with tarfile.open(path) as tar:
            names = tar.getnames()
        assert not [name for name in names if "/" in name or name.count(".") != 1 or name.startswith(("-", "."))]
        assert len(set(names)) == 3 * len(HOSTILE_IDS)
    if format in READERS:
        assert {image for image, _, _ in READERS[format](to)} == {noise(number) for number in range(len(HOSTILE_IDS))}


@pytest.mark.parametrize("format", WITH_IMAGES)
def test_no_caption_or_question_forges_an_image_or_a_turn(tmp_path: Path, format: str) -> None:
    content = [prompted(0, "Look at <image>", HOSTILE_CAPTION), row(1)]
    to, _ = written(tmp_path, format, content)
    ((question, caption),) = (texts for image, *texts in READERS[format](to) if image == noise(0))
    assert (caption, question) == (HARMLESS_CAPTION, None if format == "webdataset" else "Look at < image>")


@pytest.mark.parametrize("format", WITH_IMAGES)
def test_the_caption_of_a_view_is_made_harmless_and_counted(tmp_path: Path, format: str) -> None:
    to, done = written(tmp_path, format, [prompted(0, "Look at <image>", HOSTILE_CAPTION), row(1)], view="self")
    ((question, caption),) = (texts for image, *texts in READERS[format](to) if image == noise(0))
    if format == "webdataset":  # feeds contrastive training as well: as the view has it
        assert (caption, done.changed) == (HOSTILE_CAPTION, {})
    else:
        assert (caption, question) == (HARMLESS_CAPTION, "Look at < image>")
        assert done.changed == {"default_question": 1, "neutralised": 1}


TURNS = (Turn("What is it?", "A bird", "self"), Turn("And behind it?", "A tree", "detailed"))


@pytest.mark.parametrize(("format", "reader"), [("llava", "train.json"), ("sharegpt", "train.jsonl")])
def test_all_turns_of_a_conversation_are_written(tmp_path: Path, format: str, reader: str) -> None:
    to, _ = written(tmp_path, format, [dataclasses.replace(row(0, "A bird"), turns=TURNS)])
    text = (to / reader).read_text()
    (one,) = json.loads(text) if format == "llava" else [json.loads(line) for line in text.splitlines()]
    assert [(turn["from"], turn["value"].removeprefix("<image>").strip()) for turn in one["conversations"]] == [
        ("human", "What is it?"),
        ("gpt", "A bird"),
        ("human", "And behind it?"),
        ("gpt", "A tree"),
    ]
    assert text.count("<image>") == 1


def test_chat_formats_have_all_turns_and_sft_a_row_for_each_answer(tmp_path: Path) -> None:
    content = [dataclasses.replace(row(0, "A bird"), turns=TURNS)]
    (chat,) = read_parquet(written(tmp_path / "chat", "messages", content)[0])
    assert [turn["content"] for turn in chat["messages"]] == ["What is it?", "A bird", "And behind it?", "A tree"]
    first, second = read_parquet(written(tmp_path / "sft", "sft", content)[0])
    assert [turn["content"] for turn in second["prompt"]] == ["What is it?", "A bird", "And behind it?"]
    assert (first["completion"][0]["content"], second["completion"][0]["content"]) == ("A bird", "A tree")


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_that_fails_half_way_leaves_nothing(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrote = Tally.wrote

    def full(tally: Tally, example: Any) -> None:
        if tally.written == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        wrote(tally, example)

    monkeypatch.setattr(Tally, "wrote", full)
    release = build(tmp_path / "birds", content=fitting(format))
    with pytest.raises(OSError, match="No space left"):
        export(release.folder, tmp_path / "out", format)
    assert [path.name for path in tmp_path.iterdir()] == ["birds"]


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_release_gives_the_same_bytes(tmp_path: Path, format: str) -> None:
    release = build(tmp_path / "birds", content=fitting(format))

    def hashes(name: str) -> dict[str, str]:
        export(release.folder, tmp_path / name, format, prompts=("One?", "Two?"))
        files = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        return {str(path.relative_to(tmp_path / name)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert hashes("one") == hashes("two")


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    (tmp_path / "out").mkdir()
    export(release.folder, tmp_path / "out", "text")
    with pytest.raises(ReleaseError, match="out exists; remove it"):
        export(release.folder, tmp_path / "out", "text")
    with pytest.raises(ReleaseError, match="name a local directory"):
        export(release.folder, "s3://bucket/out", "text")


def test_an_export_without_rows_says_why_and_writes_nothing(tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    with pytest.raises(ReleaseError, match="nothing to write as llava: 20 no kept caption of that view"):
        export(release.folder, tmp_path / "out", "llava", view="spatial")
    with pytest.raises(ReleaseError, match="'parquet' is no format; there are sft, messages"):
        export(release.folder, tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


def test_a_damaged_release_is_not_exported(tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    shard = release.folder / "data" / "train-00000.parquet"
    data = bytearray(shard.read_bytes())
    data[500] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ReleaseError, match="is not the release that its manifest describes"):
        export(release.folder, tmp_path / "out", "llava")
    assert not (tmp_path / "out").exists()


# --- captions and questions --------------------------------------------------------------------------------------------


def test_the_kept_caption_of_another_view_can_be_taken(tmp_path: Path) -> None:
    one = row(0, "Chosen")
    spatial = {"view": "spatial", "candidate": 1, "text": "Left of it", "kept": True, "prompt": "Where?"}
    dropped = {"view": "spatial", "candidate": 0, "text": "Bad", "kept": False, "prompt": "Where?"}
    content = [dataclasses.replace(one, captions=[*one.captions, dropped, spatial], original="Alt text"), row(1)]
    release = build(tmp_path / "birds", content=content)
    done = export(release.folder, tmp_path / "spatial", "llava", view="spatial")
    assert [found[1:] for found in read_llava(tmp_path / "spatial")] == [("Where?", "Left of it")]
    assert done.left_out == {"no_view": 1}
    export(release.folder, tmp_path / "original", "llava", view="original")
    assert [found[2] for found in read_llava(tmp_path / "original")] == ["Alt text"]


def test_questions_are_drawn_by_image_and_seed(tmp_path: Path) -> None:
    release = build(tmp_path / "birds", content=[prompted(number) for number in range(40)])

    def asked(name: str, **options: Any) -> list[str | None]:
        export(release.folder, tmp_path / name, "llava", prompts=("One?", "Two?"), **options)
        return [question for _, question, _ in read_llava(tmp_path / name)]

    first = asked("first")
    assert 8 < first.count("One?") < 32
    assert set(first) == {"One?", "Two?"}
    assert asked("other", seed=1) != first


@given(st.text(st.sampled_from("<>|/_[]｜ image im_startIMG<|end box s\n"), max_size=60))
def test_a_neutral_text_has_no_placeholder_and_only_spaces_more(text: str) -> None:
    plain = neutral(text)
    assert not [name for name in ("<image>", "<|im_start|>", "<s>", "</s>", "[IMG]", "<img>") if name in plain]
    assert neutral(plain) == plain
    assert plain.replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    "placeholder",
    ["<image>", "<video>", "<|image_pad|>", "<|vision_start|>", "<|im_end|>", "<end_of_utterance>", "<IMG_CONTEXT>", "<img>",
     "<fake_token_around_image>", "<row_1_col_2>", "<start_of_image>", "[IMG]", "[/INST]", "<|image_1|>", "<s>", "<vila/video>",
     "<｜begin▁of▁sentence｜>", "<|eot_id|>", "<im_patch>", "<image_soft_token>", "<start_of_turn>"],
)  # fmt: skip
def test_placeholders_of_the_known_trainers_are_made_plain(placeholder: str) -> None:
    assert neutral(f"a {placeholder} b") == f"a {placeholder[0]} {placeholder[1:]} b"


@pytest.mark.parametrize(
    "text", ["<ref>a</ref><box>(1,2)</box>", "<|object_ref_start|>a<|object_ref_end|>", "a < b > c", "[1]", "<3", "<p>"]
)
def test_grounding_and_plain_text_stay(text: str) -> None:
    assert neutral(text) == text


@given(st.text(max_size=200))
def test_a_file_key_is_one_plain_name(id: str) -> None:
    key = file_key(id)
    assert set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    assert 0 < len(key) <= 80
    assert not key.startswith("-")


def test_a_plain_id_is_its_own_key_and_none_can_be_forged() -> None:
    assert file_key("0123abcd_x") == "0123abcd_x"
    forged = file_key("a.b")
    assert file_key(forged) != forged


def test_the_kind_of_an_image_is_in_its_bytes() -> None:
    kinds = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "AVIF": "avif"}
    assert {kind: extension(picture(kind)) for kind in kinds} == kinds
    assert extension(b"") is extension(b"<svg/>") is None


# --- single formats ----------------------------------------------------------------------------------------------------


def test_text_is_one_caption_a_line_and_its_words_are_counted(tmp_path: Path) -> None:
    content = [row(0, "Two\nlines\u2028here"), row(1, " and\ttabs "), row(2, "<image>")]
    to, done = written(tmp_path, "text", content)
    assert (to / "train-00000.txt").read_text().splitlines() == ["Two lines here", "and tabs", "< image>"]
    assert done.words == 7
    loaded = datasets.load_dataset("text", data_files=str(to / "*.txt"), split="train")
    assert loaded["text"][0] == "Two lines here"


def test_files_are_cut_at_the_size_asked_for(tmp_path: Path) -> None:
    big = [dataclasses.replace(row(number), image=noise(number, 300)) for number in range(8)]  # 270 KB each
    release = build(tmp_path / "birds", content=big)
    for format, pattern in (("webdataset", "train-*.tar"), ("energon", "train-*.tar")):
        export(release.folder, tmp_path / format, format, shard_mb=1)
        assert sorted(path.name for path in (tmp_path / format).glob(pattern)) == ["train-00000.tar", "train-00001.tar"]
        assert len(list(READERS[format](tmp_path / format))) == 8


def test_datasets_reads_webdataset_tars_of_several_kinds_and_with_late_scores(tmp_path: Path) -> None:
    content = [row(number, scores={"length": None}) for number in range(6)]
    content += [dataclasses.replace(row(6, scores={"length": 0.5}), image=picture("JPEG"))]
    to, _ = written(tmp_path, "webdataset", content)
    for streaming in (False, True):
        loaded = list(datasets.load_dataset(str(to), split="train", streaming=streaming))
        assert [one["json"]["score_length"] for one in loaded] == [None] * 6 + [0.5]
        assert [one["json"]["id"] for one in loaded] == [f"album/{number:05d}" for number in range(7)]
        assert [(one["jpg"].size, one["jpg"].format) for one in (loaded[0], loaded[6])] == [
            ((24, 24), "PNG"),
            ((8, 8), "JPEG"),
        ]


@pytest.mark.skipif(importlib.util.find_spec("webdataset") is None, reason="needs webdataset: pip install webdataset")
def test_webdataset_reads_its_tars(tmp_path: Path) -> None:
    import webdataset

    to, _ = written(tmp_path, "webdataset")
    samples = list(webdataset.WebDataset(str(to / "train-00000.tar"), shardshuffle=False).decode("pil"))
    assert [one["txt"] for one in samples] == [f"A caption {number}" for number in range(20)]
    assert samples[0]["jpg"].size == (24, 24)
    assert samples[0]["json"]["id"] == "album/00000"


@pytest.mark.parametrize("format", ["llava", "sharegpt", "webdataset", "energon"])
def test_a_second_row_with_the_same_id_is_counted(tmp_path: Path, format: str) -> None:
    content = [row(0), dataclasses.replace(row(1), id="album/00000"), row(2)]
    to, done = written(tmp_path, format, content)
    assert (done.written, done.left_out) == (2, {"duplicate_id": 1})
    assert {image for image, _, _ in READERS[format](to)} == {noise(0), noise(2)}


def test_the_energon_indexes_say_where_everything_is(tmp_path: Path) -> None:
    big = [dataclasses.replace(row(number), image=noise(number, 300)) for number in range(8)]
    to, _ = written(tmp_path, "energon", big, shard_mb=1)
    index = sqlite3.connect(to / ".nv-meta" / "index.sqlite")
    for tar, path in enumerate(sorted(to.glob("*.tar"))):
        data = path.read_bytes()
        offsets = [place for (place,) in struct.iter_unpack("<Q", Path(f"{path}.idx").read_bytes())]
        with tarfile.open(path) as file:
            members = file.getmembers()
        assert offsets[:-1] == [member.offset for member in members[::3]]
        assert data[offsets[-1] :].strip(b"\0") == b""
        select = "SELECT sample_key || '.' || part_name, content_byte_offset, content_byte_size FROM samples JOIN sample_parts"
        parts = index.execute(
            f"{select} USING (tar_file_id, sample_index) WHERE tar_file_id = ? ORDER BY content_byte_offset", (tar,)
        ).fetchall()
        assert parts == [(member.name, member.offset_data, member.size) for member in members]


@pytest.mark.skipif(importlib.util.find_spec("megatron") is None, reason="needs Energon: pip install megatron-energon")
def test_energon_reads_an_export_without_preparing_it(tmp_path: Path) -> None:
    from megatron.energon import WorkerConfig, get_loader, get_train_dataset
    from megatron.energon.epathlib import EPath
    from megatron.energon.flavors.webdataset.itar_reader import SqliteITarEntryReader

    content = [*rows(7), dataclasses.replace(row(7), image=picture("JPEG"), id="plain")]
    to, _ = written(tmp_path, "energon", content)
    dataset = get_train_dataset(
        to,
        worker_config=WorkerConfig(rank=0, world_size=1, num_workers=0),
        batch_size=None,
        shuffle_buffer_size=None,
        max_samples_per_sequence=None,
        repeat=False,
    )
    found = {sample.caption: tuple(sample.image.shape) for sample in get_loader(dataset)}
    assert found == {f"A caption {number}": (3, 24, 24) for number in range(7)} | {"A caption": (3, 8, 8)}
    reader = SqliteITarEntryReader(EPath(to), key_is_full_entryname=True)
    assert reader["plain.jpg"][0] == picture("JPEG")


def test_memory_does_not_grow_with_the_release(tmp_path: Path) -> None:
    def peak(images: int, format: str) -> int:
        content = (
            dataclasses.replace(row(number), image=b"\xff\xd8\xff" + bytes([number]) * 1_000_000)
            for number in range(images)
        )
        release = build(tmp_path / f"release-{images}", content=list(content))
        script = (  # the peak of this process alone; ru_maxrss starts at the parent's
            "import sys; from exports.formats import export; export(*sys.argv[1:]); "
            "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
        )
        to = tmp_path / f"out-{images}-{format}"
        command = [sys.executable, "-c", script, str(release.folder), str(to), format]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) // 1024

    assert peak(160, "webdataset") - peak(80, "webdataset") < 25  # MB, of 80 more


def test_a_run_is_exported_by_its_directory(tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.lock.json").write_text("{}")
    with pytest.raises(RunError, match="has no release"):
        export_format(str(run), str(tmp_path / "out"), "text")
    (run / "metrics.json").write_text(json.dumps({"release": {"url": str(release.folder)}}))
    done = export_format(str(run), str(tmp_path / "out"), "text")
    assert (done.written, done.lines()[0].split()[0]) == (20, "text")


# --- pairs --------------------------------------------------------------------------------------------------------------


def the_pair(tmp_path: Path, one: ReleaseRow, **options: Any) -> tuple[str, str]:
    (pair,) = read_parquet(written(tmp_path, "preference", [one], **options)[0])
    return pair["chosen"][0]["content"], pair["rejected"][0]["content"]


def test_the_rejected_caption_is_the_worst_that_a_filter_turned_down(tmp_path: Path) -> None:
    one = with_rejected(row(0, "A bird"), "A bird and a cat")
    worse = {**one.captions[1], "candidate": 2, "text": "A cat", "score_length": 0.05}
    lost = {**worse, "candidate": 3, "text": "A bird too", "score_length": 0.0, "reason": "best_of:length"}
    cut = {**worse, "candidate": 4, "text": "A", "score_length": 0.0, "cut_from": 2}
    other = {**worse, "candidate": 5, "text": "Ein Vogel", "score_length": 0.0, "prompt": "Was ist hier?"}
    one = dataclasses.replace(one, captions=[*one.captions, worse, lost, cut, other])
    # `written` gives pairs formats one more rejected candidate, which is better than these
    assert the_pair(tmp_path, one) == ("A bird", "A cat")


def test_an_image_without_a_rejected_caption_is_left_out_and_counted(tmp_path: Path) -> None:
    release = build(tmp_path / "birds", content=[row(0, "Alone"), with_rejected(row(1, "Two"))])
    done = export(release.folder, tmp_path / "out", "preference")
    assert (done.written, done.left_out) == (1, {"no_rejected": 1})


def test_only_the_named_filters_reject(tmp_path: Path) -> None:
    content = [
        with_rejected(row(number, f"A bird {number}", {"length": 0.5, "shape": 0.5}), reason=f"require:{name}")
        for number, name in enumerate(("length", "shape"))
    ]
    release = build(tmp_path / "birds", content=content)
    done = export(release.folder, tmp_path / "out", "preference_swift", rejected_by=("shape",))
    assert (done.written, done.left_out) == (1, {"no_rejected": 1})
    with pytest.raises(ReleaseError, match="rejected_by goes with preference"):
        export(release.folder, tmp_path / "sft", "sft", rejected_by=("shape",))
