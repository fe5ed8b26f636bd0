"""What is published in the place of the texts as they are: rewritten, masked, judged anew, or withheld.

What is published is what was scored, in every column. A rewritten caption has the scores of the new text; with the rewrite
`pii`, personal data is masked wherever a text stands, in the source's fields too; and the text of a caption that was not
kept and is below a limit of publishing is withheld, so that a release can say why it was dropped without repeating it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from exports.gate import WATCHED
from exports.release_row import BATCH_BYTES, BATCH_ROWS
from factory.recipe import Release
from factory.releasing.machine_paths import last_part
from factory.runs.tables import Status
from factory.sources.source import SourceRow
from filters import SetFilter
from filters.asking.questions import VlmFilter
from filters.contract.scores_of import scores_of

if TYPE_CHECKING:
    from factory.work.scorer import Scorer

GENERATED: Final = ("finish_reason", "stop_reason", "output_tokens", "max_tokens")
"""Facts of how a text was generated, which say nothing of a text that was made from it."""


class PublishedText:
    """How the texts of a release are published, by its settings and the filters of the run."""

    def __init__(self, settings: Release, scorers: Iterable[Scorer]) -> None:
        self.rewrites = settings.rewrite
        self.masks = "pii" in settings.rewrite
        self.scorers = list(scorers)
        self.limits = {**WATCHED, **settings.limits}
        self.judges = [scorer for scorer in self.scorers if _judges_text_alone(scorer)]
        """Filters whose score of any text is cheap to make anew."""

    @property
    def score_columns(self) -> list[str]:
        """The columns of scores, in the order of the filters."""
        return [f"score_{scorer.name}" for scorer in self.scorers]

    @property
    def unjudged(self) -> list[str]:
        """Filters whose scores of rewritten captions are those of the text before."""
        return [scorer.name for scorer in self.scorers if _reads_text(scorer) and scorer not in self.judges]

    def prepared(self, captions: pl.DataFrame) -> pl.DataFrame:
        """Captions as they are published.

        Args:
            captions: rows of the captions table with `kept` and the scores of every filter.

        Returns:
            The same rows with `rewritten` (null where nothing changed the caption) and `withheld`. `text` is masked where
            the release masks, and null where it is withheld; scores are of `rewritten` where there is one, else of `text`.
        """
        captions = captions.with_columns(rewritten(captions, self.rewrites))
        if self.masks:
            from filters.text.rewrites import mask_pii

            names = [name for name in ("text", "prompt") if name in captions.columns]
            captions = captions.with_columns(mask_pii(captions[name]).fill_null(captions[name]) for name in names)
        places = {
            name: sorted(set(captions[name].drop_nulls())) for name in ("model", "lora") if name in captions.columns
        }
        captions = captions.with_columns(
            pl.col(name).replace({value: last_part(value) for value in values})
            for name, values in places.items()
            if values
        )
        return self._withheld(self._scored_anew(captions))

    def unsafe_images(self, captions: pl.DataFrame) -> pl.Series:
        """Of each row, whether its image is below a limit of a filter that looks at images."""
        below = [self._below(scorer) for scorer in self.scorers if self._limits(scorer) and not _reads_text(scorer)]
        return captions.select(pl.any_horizontal(pl.lit(False), *below).alias("unsafe"))["unsafe"]

    def rows(self, rows: Iterable[tuple[SourceRow, int, str]]) -> Iterator[tuple[SourceRow, int, str]]:
        """Rows of the source with their text and their fields as they are published; the rest of each as it was."""
        if not self.masks:
            yield from rows
            return
        waiting: list[tuple[SourceRow, int, str]] = []
        size = 0
        for one in rows:
            waiting.append(one)
            size += len(one[0].data or b"")
            if len(waiting) == BATCH_ROWS or size >= BATCH_BYTES:
                yield from _masked(waiting)
                waiting, size = [], 0
        yield from _masked(waiting)

    def scores_of(self, texts: pl.Series) -> pl.DataFrame:
        """Scores of texts that no model wrote as they are, such as one put together from several; null where no filter can
        judge a text alone."""
        frame = pl.DataFrame({"text": texts})
        found = {f"score_{scorer.name}": scores_of(scorer.filter, frame)["score"] for scorer in self.judges}
        nothing = pl.lit(None, pl.Float64)
        return frame.select(found.get(name, nothing).alias(name) for name in self.score_columns)

    def _scored_anew(self, captions: pl.DataFrame) -> pl.DataFrame:
        rows = captions.with_row_index("_row").filter(pl.col("rewritten").is_not_null())
        if not rows.height or not self.judges:
            return captions
        nulls = [pl.lit(None, captions.schema[name]).alias(name) for name in GENERATED if name in captions.columns]
        texts = rows.with_columns(text="rewritten").with_columns(nulls)
        names = [scorer.name for scorer in self.judges]
        scores = pl.DataFrame(
            [scores_of(scorer.filter, texts)["score"].alias(f"_{scorer.name}") for scorer in self.judges]
        )
        changed = rows.select("_row").hstack(scores).with_columns(_changed=True)
        joined = captions.with_row_index("_row").join(changed, on="_row", how="left", maintain_order="left")
        is_new = pl.col("_changed").is_not_null()
        new = [pl.when(is_new).then(f"_{name}").otherwise(f"score_{name}").alias(f"score_{name}") for name in names]
        return joined.with_columns(new).select(captions.columns)

    def _withheld(self, captions: pl.DataFrame) -> pl.DataFrame:
        below = [self._below(scorer) for scorer in self.scorers if self._limits(scorer) and _reads_text(scorer)]
        lost = pl.any_horizontal(pl.lit(False), *below) & ~pl.col("kept") & pl.col("text").is_not_null()
        captions = captions.with_columns(withheld=lost)
        shown = [pl.when(~pl.col("withheld")).then(name).alias(name) for name in ("text", "rewritten")]
        return captions.with_columns(shown)

    def _limits(self, scorer: Scorer) -> bool:
        return scorer.name in self.limits

    def _below(self, scorer: Scorer) -> pl.Expr:
        return (pl.col(f"score_{scorer.name}") < self.limits[scorer.name]).fill_null(False)


def filter_facts(scorers: Iterable[Scorer]) -> dict[str, dict[str, Any]]:
    """For the manifest: what each filter looks at, and of those that judge a text alone their parameters."""
    found: dict[str, dict[str, Any]] = {}
    for scorer in scorers:
        reads = [name for name in ("text", "image") if name in _columns(scorer)]
        found[scorer.name] = {"reads": reads}
        if _judges_text_alone(scorer):
            found[scorer.name]["parameters"] = scorer.filter.model_dump(mode="json")
    return found


def rewritten(captions: pl.DataFrame, names: tuple[str, ...]) -> pl.Series:
    """The captions after these rewrites, one after the other; null where none of them changed anything.

    `cut_sentence` is for captions of state `truncated`. Personal data is masked last, whatever the order.
    """
    from filters.text.rewrites import (
        cut_refusal,
        mask_pii,
        repair_mojibake,
        strip_opener,
        strip_reasoning,
        trim_cut_sentence,
        unescape_html,
    )

    functions: dict[str, Any] = {
        "html": unescape_html,
        "mojibake": repair_mojibake,
        "reasoning": strip_reasoning,
        "refusal": cut_refusal,
        "opener": strip_opener,
        "cut_sentence": trim_cut_sentence,
        "pii": mask_pii,
    }
    frame = captions.select("text", "status", new=pl.lit(None, pl.String))
    for name in sorted(names, key=lambda one: one == "pii"):
        now = frame.select(pl.coalesce("new", "text").alias("now"))["now"]
        changed = functions[name](now).alias("changed")
        applies = pl.col("status") == Status.truncated if name == "cut_sentence" else pl.lit(True)
        frame = frame.with_columns(changed).with_columns(
            new=pl.when(applies & pl.col("changed").is_not_null()).then("changed").otherwise("new")
        )
    return frame["new"].alias("rewritten")


def _columns(scorer: Scorer) -> set[str]:
    return {*scorer.filter.needs, *scorer.filter.uses}


def _reads_text(scorer: Scorer) -> bool:
    """Whether its score is about a caption, and not about the image alone."""
    return "image" not in scorer.filter.needs or "text" in _columns(scorer)


def _judges_text_alone(scorer: Scorer) -> bool:
    judge = scorer.filter
    is_plain = not isinstance(judge, SetFilter | VlmFilter) and not judge.holds_model
    return is_plain and set(judge.needs) == {"text"} and "image" not in judge.uses


def _masked(rows: list[tuple[SourceRow, int, str]]) -> Iterator[tuple[SourceRow, int, str]]:
    """The rows with personal data masked in their text and in every text and number of their fields."""
    from filters.text.rewrites import mask_pii

    texts = dict.fromkeys(text for row, _, _ in rows for text in _texts((row.text, row.fields)))
    series = pl.Series(list(texts), dtype=pl.String)
    masks = {old: new for old, new in zip(series, mask_pii(series), strict=True) if new is not None}
    for row, group, where in rows:
        if masks:
            row = replace(row, text=_with(row.text, masks), fields=_with(row.fields, masks))
        yield row, group, where


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
    elif (value is not None and not isinstance(value, bool | float | bytes)) and (text := str(value)):
        yield text


def _with(value: Any, masks: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _with(part, masks) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_with(part, masks) for part in value]
    if value is None or isinstance(value, bool | float | bytes):
        return value
    return masks.get(str(value), value)
