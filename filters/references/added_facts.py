"""Facts of a fused caption that stand in none of the texts that it was made from."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Final

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter, FilterError
from filters.images.object_labels import KEY, file_stamp, read_table, sha256
from filters.references.caption_match import facts_of

_FILE: Final = "added_facts.table"


class AddedFacts(Filter):
    """Whether a fused caption says more than the texts that it was made from.

    **Finds** what a language model made up when it merged an alt-text and captions: things, numbers (from two on) and colours that
    none of its inputs names, listed in `added`. A synonym or the kind of a thing is not new ("person" for "boy"), one of the kind is ("boy" for
    "person"). `lost` are those of the inputs that the caption leaves out, `kept` the share of them that it has. By rules
    for English.

    **Scores** the share of its own facts that stand in an input. 1 where it has none. No score, and a `reason`, where the
    text is null or nothing is known of what it was made from.

    **Defaults.** A run knows the inputs of its fusions (column `inputs`, a line each). Of captions that others fused, name the
    columns that hold them: of a file with `image_key`, or beside the captions in a frame with `inputs`. Require 1.0 for
    captions that add nothing. CapsFusion's prompt leaks into 3.85 % of its own example captions; that is `prompt_leak` and `artifacts`.

    **Example.** Made from "Autumn sale" and "a man in a blue coat", the caption "Two men in blue coats at an autumn sale" scores
    0.75: the number is new.
    """

    name: ClassVar[str] = "added_facts"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    uses: ClassVar[tuple[str, ...]] = ("image_key", "inputs")
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "added": pl.List(pl.String()),
        "lost": pl.List(pl.String()),
        "kept": pl.Float64(),
        "reason": pl.String(),
    }

    table: str | None = Field(
        None, description="Parquet, CSV or JSONL file with `image_key` and the texts that captions were made from."
    )
    columns: tuple[str, ...] = Field(("inputs",), min_length=1, description="Columns of that file with these texts.")

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        frame = self.inputs(captions)
        schema = {"score": pl.Float64(), **self.evidence}
        known = _table(self.table, self.columns, file_stamp(self.table, _FILE)) if self.table is not None else None
        rows = [
            _judged(text, inputs.splitlines() if known is None and inputs else (known or {}).get(str(key), ()))
            for text, key, inputs in frame.select("text", "image_key", "inputs").iter_rows()
        ]
        return pl.DataFrame(rows, schema=schema, orient="row") if rows else pl.DataFrame(schema=schema)

    def models(self) -> dict[str, str]:
        return {} if self.table is None else {"table": sha256(self.table, _FILE)}


def _judged(text: str | None, inputs: tuple[str, ...] | list[str]) -> tuple[object, ...]:
    if text is None or not inputs:
        return None, None, None, None, None if text is None else "nothing is known of what it was made from"
    said, given = facts_of(text), [facts_of(one) for one in inputs]
    added = said.unsaid(given)
    lost = list(dict.fromkeys(fact for one in given for fact in one.unsaid([said])))
    whole = {fact for one in given for fact in (*one.things, *one.numbers, *one.colours)}
    score = 1.0 - len(added) / len(said) if len(said) else 1.0
    return score, added, lost, 1.0 - len(lost) / len(whole) if whole else 1.0, None


@lru_cache(maxsize=2)
def _table(path: str, columns: tuple[str, ...], stamp: tuple[int, int]) -> dict[str, tuple[str, ...]]:
    """The texts of each image in a file. Raises FilterError."""
    table = read_table(path, _FILE)
    for needed in (KEY, *columns):
        if needed not in table.columns:
            raise FilterError(f"{_FILE}: {path!r} has no column {needed!r}; found: {', '.join(table.columns)}.")
    return {
        str(key): tuple(str(text) for text in texts if text) for key, *texts in table.select(KEY, *columns).iter_rows()
    }
