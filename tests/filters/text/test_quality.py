import hashlib
import random
from pathlib import Path

import polars as pl
import pytest

from filters import FilterError, Quality, train_quality
from filters.models import fasttext_model
from filters.text.quality import tokens
from tests.filters.conftest import quality_captions


def test_captions_like_the_good_ones_score_high_and_like_the_bad_ones_low(models: dict[str, str]) -> None:
    texts = ["A wolf sits on a fence, near the water.", "wolf fence wallpaper free 2"]

    good, bad = Quality(model=models["quality"]).score(pl.DataFrame({"text": texts}))["score"]

    assert good > 0.9
    assert bad < 0.1


def test_training_says_what_it_used_and_how_well_it_tells_unseen_captions(tmp_path: Path) -> None:
    good, bad = quality_captions()

    trained = train_quality([*good, good[0], None, " "], [*bad, bad[0], good[1]], tmp_path / "q.bin", buckets=5000)

    assert trained.left_out == {"empty": 2, "repeated": 2, "in_both": 2, "surplus": 1}
    assert trained.trained + trained.held_out == 2 * min(len(good) - 1, len(bad))
    assert trained.auroc > 0.95
    assert trained.accuracy > 0.9
    assert trained.sha256 == hashlib.sha256(Path(trained.path).read_bytes()).hexdigest()


def test_captions_that_cannot_be_told_apart_have_an_auroc_near_a_half(tmp_path: Path) -> None:
    rng = random.Random(0)
    noise = [" ".join(rng.choices(["a", "b", "c", "d", "e", "f", "g", "h"], k=12)) for _ in range(4000)]

    assert train_quality(noise[::2], noise[1::2], tmp_path / "q.bin", buckets=5000).auroc == pytest.approx(
        0.5, abs=0.08
    )


def test_the_same_captions_in_any_order_give_the_same_model(tmp_path: Path) -> None:
    good, bad = quality_captions()

    models = [
        train_quality(good[::step], bad[::step], tmp_path / f"{step}.bin", buckets=5000).sha256 for step in (1, -1, 1)
    ]

    assert len(set(models)) == 1
    assert train_quality(good, bad, tmp_path / "q.bin", buckets=5000, seed=1).sha256 != models[0]


def test_too_few_captions_are_refused(tmp_path: Path) -> None:
    good, bad = quality_captions()

    with pytest.raises(FilterError, match=r"train_quality: only 99 different good captions.*it takes 100 of each kind"):
        train_quality(good[:99] * 5, bad, tmp_path / "q.bin")
    with pytest.raises(FilterError, match="only 0 different good captions"):
        train_quality([], bad, tmp_path / "q.bin")
    assert list(tmp_path.iterdir()) == []


def test_training_that_diverges_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FilterError, match=r"training stopped .*lower learning_rate helps"):
        train_quality(*quality_captions(), tmp_path / "q.bin", buckets=5000, learning_rate=1e30)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(FilterError, match=r"train_quality: .*file/q\.bin.* cannot be written"):
        train_quality(*quality_captions(), tmp_path / "file" / "q.bin", buckets=5000)


def test_a_build_of_fasttext_that_trains_on_unset_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.distribution", _missing)

    with pytest.raises(FilterError, match=r"needs the package fasttext-community: .*uninitialised"):
        train_quality(*quality_captions(), tmp_path / "q.bin", buckets=5000)


def _missing(name: str) -> None:
    from importlib.metadata import PackageNotFoundError

    raise PackageNotFoundError(name)


def test_without_fasttext_what_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fasttext", None)

    with pytest.raises(FilterError, match=r"quality needs the package fasttext\. Install it with `pip install"):
        fasttext_model.import_fasttext("quality")


def test_a_model_with_other_labels_is_refused(models: dict[str, str]) -> None:
    with pytest.raises(FilterError, match=r"labels of .*language\.bin' are de, en, fr, not 'good' and 'bad'"):
        Quality(model=models["language"]).score(pl.DataFrame({"text": ["a dog"]}))


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "model.safetensors"
    other.write_bytes(b'{"__metadata__": {}}')

    with pytest.raises(FilterError, match=r"quality: .*model\.safetensors' is no usable fastText model"):
        Quality(model=str(other)).score(pl.DataFrame({"text": ["a dog"]}))


def test_case_and_spaces_before_punctuation_are_all_the_same(models: dict[str, str]) -> None:
    texts = pl.Series(["A Dog, on a beach.", "a dog , on a\u00a0beach ."])

    assert tokens(texts).to_list() == ["a dog , on a beach ."] * 2
    assert Quality(model=models["quality"]).score(pl.DataFrame({"text": texts}))["score"].n_unique() == 1
