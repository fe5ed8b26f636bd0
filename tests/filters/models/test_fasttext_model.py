import random
from pathlib import Path

import pytest

from filters import FilterError
from filters.models.fasttext_model import import_fasttext, load


@pytest.fixture(scope="module")
def model(models: dict[str, str]) -> bytes:
    return Path(models["language"]).read_bytes()


def test_a_whole_model_is_loaded(models: dict[str, str]) -> None:
    assert sorted(load(models["language"], "here").labels) == ["de", "en", "fr"]


def test_a_quantised_model_is_loaded(models: dict[str, str], tmp_path: Path) -> None:
    small, lines = tmp_path / "small.ftz", Path(models["language"]).with_suffix(".txt")
    fasttext = import_fasttext("the tests")
    trained = fasttext.train_supervised(input=str(lines), dim=8, bucket=2000, minn=2, maxn=3, thread=1, verbose=0)
    trained.quantize(qnorm=True, dsub=2)
    trained.save_model(str(small))

    assert len(load(small, "here").labels) == 3
    with pytest.raises(FilterError, match="damaged or cut short"):
        load(cut(small, small.read_bytes()[:-1]), "here")


def cut(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_model_cut_anywhere_is_refused(model: bytes, tmp_path: Path) -> None:
    rng = random.Random(0)

    for length in [0, 4, 8, 60, 90, *(rng.randrange(len(model)) for _ in range(40)), len(model) - 1]:
        with pytest.raises(FilterError, match=r"^here: .*no usable fastText model"):
            load(cut(tmp_path / "cut.bin", model[:length]), "here")


def test_a_longer_model_is_refused(model: bytes, tmp_path: Path) -> None:
    with pytest.raises(FilterError, match="damaged"):
        load(cut(tmp_path / "long.bin", model + b"\0"), "here")


def test_a_damaged_length_is_refused(model: bytes, tmp_path: Path) -> None:
    for place in (64, 68, 72):  # numbers of entries, words, labels
        damaged = model[:place] + b"\xff\xff\xff\x7f" + model[place + 4 :]
        with pytest.raises(FilterError, match="damaged"):
            load(cut(tmp_path / "damaged.bin", damaged), "here")


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"PK\x03\x04" * 100, "does not begin as one"), (b"\xba\x16\x4f\x2f\x63\0\0\0" * 20, "format version is 99")],
)
def test_another_format_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    with pytest.raises(FilterError, match=problem):
        load(cut(tmp_path / "other", content), "here")


def test_word_vectors_are_refused(models: dict[str, str], tmp_path: Path) -> None:
    lines, vectors = Path(models["language"]).with_suffix(".txt"), tmp_path / "vectors.bin"
    fasttext = import_fasttext("the tests")
    fasttext.train_unsupervised(input=str(lines), dim=4, bucket=100, epoch=1, thread=1, verbose=0).save_model(
        str(vectors)
    )

    with pytest.raises(FilterError, match="it holds word vectors; a classifier"):
        load(vectors, "here")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FilterError, match=r"^here: the model .*nowhere.* cannot be read: No such file"):
        load(tmp_path / "nowhere", "here")
    with pytest.raises(FilterError, match="cannot be read: Is a directory"):
        load(tmp_path, "here")


def test_a_model_written_anew_is_read_anew(models: dict[str, str], model: bytes, tmp_path: Path) -> None:
    path = cut(tmp_path / "model.bin", model)
    assert len(load(path, "here").labels) == 3

    cut(path, Path(models["quality"]).read_bytes())

    assert set(load(path, "here").labels) == {"good", "bad"}
