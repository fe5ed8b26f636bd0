"""A fastText model from a file: checked before it is read, loaded once in a process."""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from filters.contract.filter import FilterError

_MAGIC: Final = 793712314
_VERSIONS: Final = (11, 12)
_MAX_ENTRIES: Final = 50_000_000
_PREFIX: Final = "__label__"
_INSTALL: Final = "Install it with `pip install fasttext-community`."


class FastText:
    """A supervised fastText model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.labels: tuple[str, ...] = tuple(label.removeprefix(_PREFIX) for label in model.labels)

    def likeliest(self, texts: pl.Series, k: int, least: float = 0.0) -> pl.DataFrame:
        """`at` (the text's position from 0), `label` and `probability` of each text's `k` likeliest labels, likeliest first.

        Labels below the probability `least` are left out; a text may then have none.

        No text is null. White space is all the same, line ends included.
        """
        # fastText takes one line at a time, and a list even of one: its way for a single string breaks under numpy 2.
        lines = texts.str.replace_all(r"[\n\r]", " ").to_list()
        if not lines:
            return pl.DataFrame(schema={"at": pl.UInt32, "label": pl.String, "probability": pl.Float64})
        labels, probabilities = self._model.predict(lines, k=k, threshold=least)
        return pl.DataFrame(
            {
                "at": pl.Series(range(len(lines)), dtype=pl.UInt32).repeat_by(pl.Series(map(len, labels))).explode(),
                "label": list(chain.from_iterable(labels)),
                "probability": np.concatenate(probabilities),
            }
        ).with_columns(pl.col("label").str.strip_prefix(_PREFIX), pl.col("probability").cast(pl.Float64).clip(0.0, 1.0))


def load(path: str | Path, asked_by: str) -> FastText:
    """The model at `path`. Raises FilterError, which begins with `asked_by`, where it is none or cannot be used."""
    return FastText(_model(path, asked_by, classifier=True))


def load_word_vectors(path: str | Path, asked_by: str) -> Callable[[str], npt.NDArray[np.float32]]:
    """The vector of a word, by a fastText model of any kind. Raises FilterError as `load` does."""
    vector: Callable[[str], npt.NDArray[np.float32]] = _model(path, asked_by, classifier=False).get_word_vector
    return vector


def _model(path: str | Path, asked_by: str, classifier: bool) -> Any:
    file = Path(path)
    try:
        stat = file.stat()
        with file.open("rb") as stream:
            wrong = _wrong(stream, stat.st_size, classifier)
    except OSError as error:
        raise FilterError(f"{asked_by}: the model {str(path)!r} cannot be read: {error.strerror}.") from error
    if wrong:
        raise FilterError(f"{asked_by}: {str(path)!r} is no usable fastText model: {wrong}.")
    return _loaded(str(file), stat.st_size, stat.st_mtime_ns, asked_by)


def import_fasttext(asked_by: str) -> Any:
    """The fastText package. Raises FilterError with what to install."""
    try:
        import fasttext
    except ImportError as error:
        raise FilterError(f"{asked_by} needs the package fasttext. {_INSTALL}") from error
    return fasttext


def sha256(path: str | Path) -> str:
    """Of the file's bytes, hex. Raises FilterError where it cannot be read."""
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise FilterError(f"The model {str(path)!r} cannot be read: {error.strerror}.") from error


@lru_cache(maxsize=4)
def _loaded(path: str, size: int, changed: int, asked_by: str) -> Any:
    fasttext = import_fasttext(asked_by)
    try:
        return fasttext.FastText._FastText(model_path=path)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise FilterError(f"{asked_by}: {path!r} cannot be loaded: {error}.") from error


def _wrong(stream: BinaryIO, size: int, classifier: bool) -> str:
    """What is wrong with the file, or nothing.

    fastText itself trusts every length in the file: it reads a cut one for ever. So each is checked here against the
    size of the file, in the order in which `FastText::saveModel` (fastText 0.9) writes them.
    """
    try:
        magic, version = _read(stream, "<2i")
        if magic != _MAGIC:
            return "it does not begin as one (a .bin or .ftz file does)"
        if version not in _VERSIONS:
            return f"its format version is {version}, not {' or '.join(map(str, _VERSIONS))}"
        *_, model, bucket, _minn, _maxn, _rate, _threshold = _read(stream, "<12id")
        if classifier and model != 3:
            return "it holds word vectors; a classifier (train_supervised) is needed"
        if bucket < 0:
            return "it is damaged"
        _dictionary(stream, classifier)
        quantised = _read(stream, "<?")[0]
        _quantised_matrix(stream) if quantised else _matrix(stream)
        quantised_output = _read(stream, "<?")[0]
        _quantised_matrix(stream) if quantised and quantised_output else _matrix(stream)
    except (EOFError, ValueError):
        return "it is damaged or cut short"
    return "" if stream.tell() == size else "it is damaged or cut short"


def _read(stream: BinaryIO, form: str) -> tuple[Any, ...]:
    wanted = struct.calcsize(form)
    found = stream.read(wanted)
    if len(found) < wanted:
        raise EOFError
    return struct.unpack(form, found)


def _skip(stream: BinaryIO, count: int) -> None:
    if count < 0:
        raise ValueError(count)
    stream.seek(count, 1)


def _dictionary(stream: BinaryIO, classifier: bool) -> None:
    entries, words, labels, _tokens, pruned = _read(stream, "<3i2q")
    if not (0 <= entries <= _MAX_ENTRIES and words >= 0 and labels >= classifier and entries == words + labels):
        raise ValueError(entries)
    # Entries have no fixed size: a word, a zero byte, its count (8 bytes), its type (1 byte).
    place = stream.tell()
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        for _ in range(entries):
            end = whole.find(b"\0", place)
            if end < 0:
                raise EOFError
            place = end + 10
    stream.seek(place)
    _skip(stream, 8 * max(pruned, 0))


def _matrix(stream: BinaryIO) -> None:
    rows, columns = _read(stream, "<2q")
    if rows < 0 or columns < 0:
        raise ValueError(rows)
    _skip(stream, 4 * rows * columns)


def _quantised_matrix(stream: BinaryIO) -> None:
    norms, rows, _columns, codes = _read(stream, "<?2qi")
    _skip(stream, codes)
    _centroids(stream)
    if norms:
        _skip(stream, rows)
        _centroids(stream)


def _centroids(stream: BinaryIO) -> None:
    dimensions, *_ = _read(stream, "<4i")
    _skip(stream, 4 * 256 * dimensions)
