"""`factory evaluate CAPTIONS --references FILE`: the objects that captions name against reference captions or labels."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np
import polars as pl

from exports.foreign_text import FORMULA
from exports.storage import Storage
from factory.errors import RunError
from factory.evaluation.by_truth import CONFIDENCE, RESAMPLES, Share
from factory.runs.tables import CAPTION_KEY
from filters.images.object_labels import READERS, names_in
from filters.models.word_vectors import word_vectors
from filters.references.chair import Chair, chair, chair_rates
from filters.references.object_match import ByVectors, ObjectMatch, Similarity, lexical, match_objects
from filters.wording.object_words import NamedObject, Vocabulary, objects_of, vocabulary
from filters.wording.sentences import sentences

KEY: Final = "image_key"
REFERENCES, OBJECTS = "references", "objects"
MAX_BYTES: Final = 2_000_000_000
"""Of a table file: all of it is read into memory."""

PER_CAPTION: Final = pl.Schema(
    {
        "image_key": pl.String(),
        "view": pl.String(),
        "candidate": pl.Int64(),
        "text": pl.String(),
        "named": pl.List(pl.String()),  # kinds of objects of the vocabulary, each as often as it is named
        "hallucinated": pl.List(pl.String()),  # those of them that are not in the image
        "recalled": pl.List(pl.String()),  # those in the image that are named, once each
        "there": pl.List(pl.String()),  # kinds in the image
        "object_match": pl.Float64(),  # [0, 1], the least similarity of an object to its match; null: names no object
        "matches": pl.List(pl.Struct({"name": pl.String(), "reference": pl.String(), "similarity": pl.Float64()})),
        "kept": pl.Boolean(),  # by the selection of the run; null for a file of captions
    }
)


@dataclass
class ReferenceEvaluation:
    """Of captions whose image has a reference: CHAIR's three rates, the means of the object match and of the similarities of all objects, with intervals,
    of all of them (`before`) and, for a run, of those that selection keeps (`after`); the commonest hallucinated kinds; and
    the captions with the lowest match. `table` has a row for each, PER_CAPTION.
    """

    captions: int
    images: int
    left_out: int
    rates: dict[str, dict[str, Share]]
    commonest: dict[str, int]
    worst: list[dict[str, Any]]
    table: pl.DataFrame = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """As JSON data, without the table."""
        return {
            "captions": self.captions,
            "images": self.images,
            "without_reference": self.left_out,
            "rates": {when: {name: one.as_json() for name, one in some.items()} for when, some in self.rates.items()},
            "hallucinated": self.commonest,
            "worst": self.worst,
        }

    def lines(self) -> list[str]:
        """For a terminal."""
        left_out = f" ({self.left_out:,} captions have none)" if self.left_out else ""
        lines = [f"{self.captions:,} captions of {self.images:,} images with a reference{left_out}"]
        for when, rates in self.rates.items():
            label = "" if len(self.rates) == 1 else f" {when} selection"
            lines += [f"{_WORDS[name]}{label}: {share}" for name, share in rates.items()]
        if self.commonest:
            lines.append(
                "hallucinated most: " + ", ".join(f"{kind} {count:,}" for kind, count in self.commonest.items())
            )
        for one in self.worst:
            wrong = ", ".join(f"{match['name']} {match['similarity']:.2f}" for match in one["matches"][:5])
            lines.append(f"worst {one['object_match']:.2f}  {one['image_key']}: {one['text'][:120]!r} ({wrong})")
        return lines


_WORDS: Final = {
    "chair_s": "CHAIRs, captions with a hallucinated object",
    "chair_i": "CHAIRi, hallucinated mentions of objects",
    "recall": "objects of the images that are named",
    "object_match": "object match, mean of the least of each caption",
    "object_similarity": "object similarity, mean of all objects",
}


def evaluate_references(
    captions: str,
    references: str,
    synonyms: str | None = None,
    similarity: str | None = None,
    revision: str | None = None,
    out: str | None = None,
    worst: int = 5,
) -> ReferenceEvaluation:
    """Compare captions with references, on a CPU.

    Args:
        captions: a run, or a Parquet, CSV or JSONL file with `image_key` and `text` (and perhaps view, candidate).
        references: such a file with `image_key` and `references` (captions, a list of them), `objects` (labels), or both;
            rows of one image are put together. In CSV, captions and labels are JSON lists; labels may have , ; or | between.
        synonyms: a file of synonyms as `filters.wording.object_words.vocabulary` takes it; unset: the 80 classes of MSCOCO.
        similarity, revision: a model as `filters.models.word_vectors.word_vectors` takes it; unset: letters and synonyms alone.
        out: where the table of PER_CAPTION goes (.parquet, .jsonl or .csv without its lists of matches).
        worst: how many of the captions with the lowest match are shown.

    Raises:
        RunError: a file that is none, lacks a column, or shares no image with the captions.
        FilterError: synonyms or a model that cannot be read.
    """
    if out is not None and _kind(out) not in _WRITERS:
        raise RunError(f"--out {out}: a table is written as {', '.join(_WRITERS)}")
    given = read_captions(captions)
    truth = read_references(references)
    known = vocabulary(synonyms).also(label for one in truth.values() for label in one.objects)
    measure: Similarity = lexical
    if similarity is not None:
        measure = ByVectors(word_vectors(similarity, revision, "--similarity"))
    found = evaluate_objects(given, truth, known, measure, worst)
    if out is not None:
        _WRITERS[_kind(out)](found.table, out)
    return found


@dataclass(frozen=True, slots=True)
class Reference:
    """What is known of an image: captions, labels of objects, or both."""

    captions: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()


def evaluate_objects(
    captions: pl.DataFrame,
    references: dict[str, Reference],
    known: Vocabulary,
    similarity: Similarity = lexical,
    worst: int = 5,
) -> ReferenceEvaluation:
    """Of captions with `image_key`, `text`, and where there are any `view`, `candidate` and `kept`. Raises RunError."""
    has = pl.col(KEY).is_in(list(references))
    rows = captions.filter(has, pl.col("text").is_not_null())
    if rows.is_empty():
        some, others = captions[KEY].drop_nulls().head(1).to_list(), list(references)[:1]
        raise RunError(
            f"no caption's image has a reference: the keys of captions look like {some}, those of references like {others}"
        )
    named = cache(lambda text: tuple(one for part in sentences(text) for one in objects_of(part.text, known)))
    there = {key: _objects_there(references[key], known, named) for key in rows[KEY].unique().to_list()}
    judged = [_judge(named(text), there[key], similarity) for key, text in rows.select(KEY, "text").iter_rows()]
    table = _table(rows, judged)
    kept = None
    if table["kept"].null_count() < table.height:
        kept = table["kept"].fill_null(False).to_numpy()
    rates = {"before": _rates(table[KEY], judged)}
    if kept is not None and kept.any():
        chosen = [one for one, keep in zip(judged, kept, strict=True) if keep]
        rates["after"] = _rates(table[KEY].filter(pl.Series(kept)), chosen)
    low = table.filter(pl.col("object_match") < 1.0).sort("object_match", *CAPTION_KEY, maintain_order=True).head(worst)
    return ReferenceEvaluation(
        table.height,
        table[KEY].n_unique(),
        captions.filter(pl.col("text").is_not_null()).height - table.height,
        rates,
        dict(Counter(kind for one, _ in judged for kind in one.hallucinated).most_common(10)),
        [_example(row) for row in low.iter_rows(named=True)],
        table,
    )


_Judged = tuple[Chair, ObjectMatch]


def _objects_there(
    one: Reference, known: Vocabulary, named: Callable[[str], tuple[NamedObject, ...]]
) -> tuple[NamedObject, ...]:
    labels = tuple(
        NamedObject(label.lower(), label.lower().split()[-1], known.canonical(label))
        for label in one.objects
        if label.split()
    )
    return (*labels, *(found for text in one.captions for found in named(text)))


def _judge(named: Sequence[NamedObject], there: Sequence[NamedObject], similarity: Similarity) -> _Judged:
    ours = [one.canonical for one in named if one.canonical is not None]
    return chair(ours, (one.canonical for one in there if one.canonical is not None)), match_objects(
        named, there, similarity
    )


def _table(rows: pl.DataFrame, judged: Sequence[_Judged]) -> pl.DataFrame:
    given = rows.with_columns(pl.lit(None).alias(name) for name in PER_CAPTION if name not in rows.columns)
    found: dict[str, list[Any]] = {
        "named": [list(one.named) for one, _ in judged],
        "hallucinated": [list(one.hallucinated) for one, _ in judged],
        "recalled": [sorted(one.recalled) for one, _ in judged],
        "there": [sorted(one.there) for one, _ in judged],
        "object_match": [match.score for _, match in judged],
        "matches": [
            [{"name": m.name, "reference": m.reference, "similarity": m.similarity} for m in match.matches]
            for _, match in judged
        ],
    }
    own = [pl.Series(name, values, dtype=PER_CAPTION[name], strict=False) for name, values in found.items()]
    return given.with_columns(own).select(pl.col(name).cast(kind) for name, kind in PER_CAPTION.items())


def _example(row: dict[str, Any]) -> dict[str, Any]:
    matches = sorted(row["matches"], key=lambda match: match["similarity"])
    return {name: row[name] for name in ("image_key", "view", "candidate", "text", "object_match", "hallucinated")} | {
        "matches": matches
    }


# --- rates ---


def _rates(images: pl.Series, judged: Sequence[_Judged]) -> dict[str, Share]:
    """The rates, with intervals by drawing images anew."""
    rates = chair_rates([one for one, _ in judged])
    scores = [match.score for _, match in judged]
    match = [score for score in scores if score is not None]
    each = [[match.similarity for match in one.matches] for _, one in judged]
    alike = [value for some in each for value in some]
    values = {
        "chair_s": rates.chair_s,
        "chair_i": rates.chair_i,
        "recall": rates.recall,
        "object_match": sum(match) / len(match) if match else None,
        "object_similarity": sum(alike) / len(alike) if alike else None,
    }
    parts = {  # the numerator and the denominator of each caption
        "chair_s": [(bool(one.hallucinated), 1) for one, _ in judged],
        "chair_i": [(len(one.hallucinated), len(one.named)) for one, _ in judged],
        "recall": [(len(one.recalled), len(one.there)) for one, _ in judged],
        "object_match": [(score or 0.0, score is not None) for score in scores],
        "object_similarity": [(sum(some), len(some)) for some in each],
    }
    image = images.rank("dense").to_numpy().astype(np.int64) - 1
    found = {}
    for name, value in values.items():
        if value is not None:
            found[name] = Share(value, *_interval(image, np.array(parts[name], dtype=np.float64)))
    return found


def _interval(image: np.ndarray[Any, Any], parts: np.ndarray[Any, Any]) -> tuple[float, float]:
    count = int(image.max()) + 1
    sums = np.stack([np.bincount(image, parts[:, side], count) for side in (0, 1)])
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        top, bottom = sums[:, rng.integers(0, count, count)].sum(axis=1)
        if bottom:
            drawn.append(top / bottom)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


# --- files ---


def read_captions(url: str) -> pl.DataFrame:
    """The captions of a run (all candidates, with `kept`) or of a file: `image_key` and `text`, and perhaps more. RunError."""
    if _kind(url) in READERS:
        table = _read(url, "captions")
        text = next((name for name in ("text", "caption") if name in table.columns), None)
        if text is None or KEY not in table.columns:
            raise RunError(f"{url}: captions need the columns {KEY} and text; found: {', '.join(table.columns)}")
        wanted = [name for name in (*CAPTION_KEY, text) if name in table.columns]
        return table.select(wanted).rename({text: "text"}).cast({KEY: pl.String, "text": pl.String})
    from factory.runs.run import SELECTION, find_run
    from factory.work.work import reopen

    work = reopen(find_run(url))
    rows = work.captions().select(*CAPTION_KEY, "text").drop_nulls("text")
    captions = rows.collect(engine="streaming").unique(CAPTION_KEY, keep="first", maintain_order=True)
    decided = work.run.storage.scan([SELECTION]).select(*CAPTION_KEY, "kept").collect(engine="streaming")
    return captions.join(decided.unique(CAPTION_KEY), on=CAPTION_KEY, how="left").sort(CAPTION_KEY)


def read_references(url: str) -> dict[str, Reference]:
    """A references file by image key. Raises RunError."""
    table = _read(url, "references")
    held = [name for name in (REFERENCES, OBJECTS) if name in table.columns]
    if KEY not in table.columns or not held:
        raise RunError(
            f"{url}: references need the column {KEY} and one of {REFERENCES} (captions) and {OBJECTS} (labels); found: "
            f"{', '.join(table.columns)}"
        )
    texts: dict[str, list[str]] = {}
    labels: dict[str, list[str]] = {}
    for place, row in enumerate(table.select(KEY, *held).iter_rows(named=True)):
        if row[KEY] is None:
            raise RunError(f"{url}: row {place + 1} has no {KEY}")
        key = str(row[KEY])
        try:
            texts.setdefault(key, []).extend(_texts(row.get(REFERENCES)))
            labels.setdefault(key, []).extend(names_in(row.get(OBJECTS)))
        except ValueError as error:
            raise RunError(f"{url}: row {place + 1}: {error}") from None
    return {key: Reference(tuple(texts[key]), tuple(labels[key])) for key in texts}


def _texts(value: object) -> Iterable[str]:
    """Captions: a list, a JSON list as text, or one caption."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [value]
    return names_in(value)


def _kind(url: str) -> str:
    return posixpath.splitext(url)[1].lower()


def _read(url: str, what: str) -> pl.DataFrame:
    kind = _kind(url)
    if kind not in READERS:
        raise RunError(f"{url}: {what} come as {', '.join(READERS)}, not as '{kind or 'a file without ending'}'")
    try:
        storage = Storage(posixpath.dirname(url) or ".")
        size = storage.fs.size(storage.full(posixpath.basename(url))) or 0
        if size > MAX_BYTES:
            raise RunError(f"{url}: {size:,} bytes, and at most {MAX_BYTES:,} are read into memory; give a part of it")
        with storage.open(posixpath.basename(url)) as file:
            return READERS[kind](file)
    except FileNotFoundError:
        raise RunError(f"{url}: no such file") from None
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise RunError(f"{url}: cannot be read as {kind} ({str(error).partition(chr(10))[0][:200]})") from None


def _write_csv(table: pl.DataFrame, path: str) -> None:
    lists = [name for name, kind in table.schema.items() if kind == pl.List(pl.String)]
    texts = pl.col(pl.String)
    marked = pl.when(texts.str.contains(FORMULA)).then("'" + texts).otherwise(texts).name.keep()
    table.drop("matches").with_columns(pl.col(lists).list.join(", ")).with_columns(marked).write_csv(path)


_WRITERS: Final[dict[str, Callable[[pl.DataFrame, str], None]]] = {
    ".parquet": lambda table, path: table.write_parquet(path),
    ".jsonl": lambda table, path: table.write_ndjson(path),
    ".csv": _write_csv,
}
