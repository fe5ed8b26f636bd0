"""What a filter is: parameters in, one frame of captions in, one frame of scores out.

A filter holds no engine, drops no row, and reads no file but the model that one of its parameters names. Everything else
(thresholds, storage, batches, progress) belongs to whoever calls it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Final

import polars as pl
from pydantic import BaseModel, ConfigDict

from filters.contract.answers import ANSWERS
from filters.contract.sentence_columns import SENTENCE_LOGPROBS, SENTENCES

COLUMNS: Final[dict[str, pl.DataType]] = {
    "text": pl.String(),  # the caption; null where there is none
    "image": pl.Binary(),  # the original bytes of the image file, once a row; null where there is none
    "finish_reason": pl.String(),  # why generation ended: "stop", "length", ...; null for captions nobody generated
    "prompt": pl.String(),  # the text that was sent to the captioner
    "inputs": pl.String(),  # what the prompt was filled in with (alt-text, experts' answers), a line each; null for none
    "output_tokens": pl.Int64(),  # tokens generated
    "max_tokens": pl.Int64(),  # tokens allowed
    "mean_logprob": pl.Float64(),  # natural logarithm, <= 0, over the generated tokens
    "min_logprob": pl.Float64(),  # natural logarithm, <= 0, of the least likely generated token
    "sentence_logprobs": SENTENCE_LOGPROBS,  # of each sentence's tokens; null for captions nobody generated
    "others": pl.List(pl.String()),  # the other captions of the same image and view; null where nobody says
    "references": pl.List(pl.String()),  # captions that people wrote for the same image; null where nobody says
    "answers": ANSWERS,  # what a vision-language model answered to the questions of filters that ask
    "image_key": pl.String(),
    "view": pl.String(),
    "candidate": pl.Int64(),
    "cut_from": pl.Int64(),  # the candidate of which the caption is what was left when sentences were cut; null for others
}
"""The columns a filter may read, by name, with the type in which it gets them."""


class FilterError(ValueError):
    """A filter cannot be found, built or run as asked. The message says what to do."""


class Filter(BaseModel, ABC):
    """Scores captions; its fields are its parameters.

    A new filter is one class in one file: the class variables below, its parameters as fields, and `score`. Its
    docstring is its page in the documentation, the first line its summary. Register it under the entry point group
    `caption_factory.filters`, with its `name` as the entry point's name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    """Its name in recipes and its column in score tables; snake_case."""
    version: ClassVar[int]
    """Raised whenever a score could change, so that stored scores are made anew."""
    needs: ClassVar[tuple[str, ...]]
    """Columns without which it cannot score."""
    uses: ClassVar[tuple[str, ...]] = ()
    """Columns it reads where they exist."""
    evidence: ClassVar[dict[str, pl.DataType]] = {}
    """Columns that it returns beside the score."""

    scores_regardless_of: ClassVar[dict[str, set[str]]] = {}
    """Parameter -> fields of it that say how long to wait and the like: no score depends on them."""
    holds_model: ClassVar[bool] = False
    """Whether it loads a model that takes seconds: such filters get processes of their own, and a GPU where there is one."""

    @property
    def judges_sentences(self) -> bool:
        """Whether it gives each sentence a score of its own, in the evidence column `sentences`."""
        return self.evidence.get("sentences") == SENTENCES

    @abstractmethod
    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        """One row per caption, in order: `score` (Float64) and the evidence columns.

        A score lies in [0, 1], higher is better; it is null only where the filter cannot judge, and the filter's
        docstring says where that is. Each row's score depends on that row and the parameters alone (a set filter's: on
        the rows of its set): the same in any order, in any batch, in any process. `captions` is left as it is. Raises FilterError where a needed column is
        missing or of another type.
        """

    def models(self) -> dict[str, str]:
        """The sha256 of each model file that it reads, by parameter: with the parameters, what its scores come from.

        Raises FilterError where a file cannot be read.
        """
        return {}

    def inputs(self, captions: pl.DataFrame) -> pl.DataFrame:
        """The columns that this filter reads, with the types of COLUMNS; an absent optional one is all null."""
        for column in self.needs:
            if column not in captions.columns:
                raise FilterError(_missing(self.name, column, captions.columns))
        read = (*self.needs, *self.uses)
        absent = [pl.lit(None, COLUMNS.get(column)).alias(column) for column in read if column not in captions.columns]
        return captions.with_columns(absent).select(self._typed(captions.schema, column) for column in read)

    def _typed(self, schema: pl.Schema, column: str) -> pl.Expr:
        wanted, found = COLUMNS.get(column), schema.get(column)
        if wanted is None or found is None or found == wanted:
            return pl.col(column)
        if not _converts(found, wanted):
            raise FilterError(f"{self.name}: the column {column!r} holds {found}, but must hold {wanted}.")
        return pl.col(column).cast(wanted)

    @classmethod
    def summary(cls) -> str:
        """The first line of its docstring."""
        return (cls.__doc__ or "").strip().partition("\n")[0]


class SetFilter(Filter):
    """Scores captions by the set that they are in: duplicates, shares, lengths.

    A new one is a filter with `score_set` instead of `score`.
    """

    ordered: ClassVar[bool] = False
    """Whether the order of the rows means something to it. If so, rows come in the order of their source."""

    @abstractmethod
    def score_set(self, batches: Callable[[], Iterator[pl.DataFrame]], scratch: Path) -> Iterator[pl.DataFrame]:
        """One frame for each batch, in order: `score` (Float64) and the evidence columns, one row per caption.

        `batches()` begins anew at each call and yields the same batches in the same order; together they are the set,
        of any size. What does not fit in memory goes to `scratch`, an empty folder that the caller removes; the
        docstring of the filter says what a row takes of either.

        Scores do not depend on how rows are batched, nor, unless `ordered`, on their order: which one of several alike
        counts as the first is a matter of (image_key, view, candidate), and only between rows without a key, or with
        the same, of their order. Raises FilterError as `score` does.
        """

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        """The scores of `captions`, taken as the whole set."""
        with TemporaryDirectory(prefix=f"{self.name}-") as scratch:
            return pl.concat(self.score_set(lambda: iter((captions,)), Path(scratch)))


def _converts(found: pl.DataType, wanted: pl.DataType) -> bool:
    if found == pl.Null:
        return True
    if wanted == pl.String:
        return isinstance(found, pl.Categorical | pl.Enum)
    if wanted == pl.Binary:
        return False
    if isinstance(wanted, pl.List):
        return isinstance(found, pl.List)
    return found.is_integer() or (wanted.is_float() and found.is_numeric())


def _missing(name: str, column: str, found: list[str]) -> str:
    if column == "image":
        return (
            f"{name} needs the column 'image' with the bytes of each image file; the captions have "
            f"{', '.join(map(repr, found)) or 'no columns'}. Give the images, or leave {name} out."
        )
    if column == "answers":
        return (
            f"{name} needs the column 'answers', what a vision-language model said to its questions; the captions have "
            f"{', '.join(map(repr, found)) or 'no columns'}. `factory run` and `factory filter` ask one and score."
        )
    return (
        f"{name} needs the column {column!r}; the captions have {', '.join(map(repr, found)) or 'no columns'}. "
        f"Where it has another name, rename it first: captions.rename({{'<its name>': {column!r}}})."
    )
