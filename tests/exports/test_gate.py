"""The gate: what must not be published is listed before anything is sent."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from exports.gate import check_gate, problems
from exports.release import ReleaseError
from tests.releases import build, rewrite, row, rows


def test_a_release_with_licences_and_clean_scores_passes(tmp_path: Path) -> None:
    assert problems(build(tmp_path, content=rows(5, scores={"pii": 1.0, "nsfw": None}))) == []


def test_an_unknown_licence_of_the_captions_stops_it(tmp_path: Path) -> None:
    found = problems(build(tmp_path, license="unknown"))
    assert [line.split(";")[0] for line in found] == [
        "the licence of the captions is unknown",
        "README.md names no licence",
    ]


@pytest.mark.parametrize("card", [b"", b"# no metadata", b"---\n[1, {\n---\n", b"---\n- a\n---\n", b"\xff\xfe"])
def test_a_card_without_metadata_stops_it(tmp_path: Path, card: bytes) -> None:
    release = rewrite(build(tmp_path), {"README.md": card})
    assert problems(release) == ["README.md has no metadata that can be read"]


def test_rows_without_a_licence_field_are_counted_and_named(tmp_path: Path) -> None:
    content = rows(8)
    for place, fields in ((2, {}), (5, {"license": "unknown"}), (6, {"license": None})):
        content[place] = dataclasses.replace(content[place], fields=fields)
    content[7] = dataclasses.replace(content[7], fields={"Licence": "CC0"})
    release = build(tmp_path, content=content)
    assert problems(release)[0].startswith("3 of 8 rows have no licence field (album/00002, album/00005, album/00006)")
    assert problems(rewrite(release, image_license="cc0")) == []


def test_flagged_captions_stop_it_also_those_that_were_not_chosen(tmp_path: Path) -> None:
    content = [row(number, scores={"pii": 1.0, "length": 0.1}) for number in range(9)]
    content[1] = row(1, scores={"pii": 0.0, "length": 0.1})
    unchosen = {**content[4].captions[0], "candidate": 1, "kept": False, "score_pii": 0.4}
    content[4] = dataclasses.replace(content[4], captions=[*content[4].captions, unchosen])
    release = build(tmp_path, content=content)
    (line,) = problems(release)
    assert line.startswith("2 rows have a caption whose pii score is below 0.5 (album/00001, album/00004)")
    assert problems(rewrite(release, limits={"pii": 0.0})) == []
    assert len(problems(rewrite(release, limits={"pii": 0.0, "length": 0.2}))) == 1


def test_a_token_in_a_card_or_manifest_stops_it_and_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = build(tmp_path)
    card = (release.folder / "README.md").read_text()
    secret = "hf_" + "aB3" * 12
    with pytest.raises(ReleaseError, match=r"README\.md holds an access token") as caught:
        check_gate(rewrite(release, {"README.md": f"{card}\n{secret}\n".encode()}))
    assert secret not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "another-shape-of-token")
    assert "manifest.json holds an access token" in problems(
        rewrite(release, {"README.md": card.encode()}, note="x another-shape-of-token")
    )[0]  # fmt: skip


def test_everything_wrong_is_listed_at_once(tmp_path: Path) -> None:
    content = [dataclasses.replace(row(number, scores={"nsfw": 0.1}), fields={}) for number in range(30)]
    with pytest.raises(ReleaseError) as caught:
        check_gate(build(tmp_path, content=content, license="unknown"))
    text = str(caught.value)
    assert (
        "30 of 30 rows have no licence field (album/00000, album/00001, album/00002, album/00003, album/00004, ...)"
        in text
    )
    assert "30 rows have a caption whose nsfw score is below 0.5" in text
    assert len(text.splitlines()) == 5


def test_a_shard_that_is_no_parquet_is_one_message(tmp_path: Path) -> None:
    release = build(tmp_path)
    (release.folder / "data" / "train-00000.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ReleaseError, match="cannot be read as Parquet"):
        check_gate(release)


@pytest.mark.parametrize(
    ("licence", "guess"), [("CC-BY-4.0", "cc-by-4.0"), ("cc0", "cc0-1.0"), ("apache2", "apache-2.0")]
)
def test_a_licence_that_the_hub_does_not_know_stops_it_with_the_nearest(
    tmp_path: Path, licence: str, guess: str
) -> None:
    (line,) = problems(build(tmp_path, license=licence))
    assert f"'{licence}' is no licence id of the Hub" in line
    assert f"did you mean {guess}?" in line


def test_a_row_of_several_configs_is_counted_once(tmp_path: Path) -> None:
    content = [dataclasses.replace(one, fields={}) for one in rows(6, scores={"pii": 0.1})]
    found = problems(build(tmp_path, content=content, configs=("default", "sft", "text")))
    assert found[0].startswith("6 of 6 rows have no licence field")
    assert found[1].startswith("6 rows have a caption whose pii score")
