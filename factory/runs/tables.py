"""The schemas of all tables of a run: the only place that names their columns. Units and ranges stand beside each.

Tables are append-only Parquet parts. Of rows with the same key the best one counts (`resolve` in `factory/runs/run.py`),
because a task that was retried after a crash may have written its rows twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import polars as pl
from polars.datatypes import DataTypeClass

from filters.contract.sentence_columns import SENTENCE_LOGPROBS


def _schema(columns: Mapping[str, pl.DataType | DataTypeClass]) -> pl.Schema:
    return pl.Schema(columns)


class Status(StrEnum):
    """How a row ended. Every source row ends in exactly one of these."""

    ok = "ok"  # a complete caption
    truncated = "truncated"  # cut at max_tokens; done, kept only where the recipe accepts it
    failed = "failed"  # engine error, time-out, empty answer; retried by the next run
    quarantined = "quarantined"  # the image cannot be used; see the quarantine table


class Failure(StrEnum):
    """Why a caption failed: the reasons of status `failed`, each retried by the next run."""

    empty = "empty"  # the model answered with nothing but white space
    only_reasoning = "only_reasoning"  # the model thought and gave no answer
    timeout = "timeout"  # one request took longer than the view's timeout_s
    engine_died = "engine_died"  # the engine stopped every time it was given this image alone
    refused = "refused"  # the engine refused the request, for example a prompt longer than max_model_len
    no_context = "no_context"  # an expert that the prompt asks for failed on the image, and the view skips those
    no_original = "no_original"  # the prompt asks for {original} and the image has no text
    no_input = "no_input"  # a fusion has no caption for a place of its prompt, nor one that could stand for it
    source_unreadable = "source_unreadable"  # the file could not be read this time


class Unfused(StrEnum):
    """Why a fused caption does not stand, so that its image has the caption of the view's `fallback`."""

    leak = "leak"  # it repeats the instruction, or has other traces of how it was made
    refusal = "refusal"  # the model refused
    contradiction = "contradiction"  # what it is made from contradicts each other, or it contradicts that
    no_input = "no_input"  # there is no caption for one of the places of the prompt


PARENTS = pl.List(pl.Struct({"view": pl.String, "candidate": pl.Int16, "fingerprint": pl.String}))
"""The captions that a fused one was made from, in the order of the view's `from`; the keys of their rows but for the image's."""

# One row per (image key, view, candidate).
CAPTIONS = _schema(
    {
        "image_key": pl.String,  # stable id of the image
        "shard": pl.String,  # the piece of the source that holds it; stable as long as the source's files are
        "view": pl.String,
        "candidate": pl.Int16,  # 0 ... n-1; of a later try and of a cut caption: see RUNG_CANDIDATES, FALLBACK_CANDIDATE, CUT_CANDIDATES
        "rung": pl.Int16,  # which try on the ladder made it, 1 ...; null for the first
        "cut_from": pl.Int16,  # the candidate that it was made from, by cutting or by a person's edit; null for what a model wrote
        "fingerprint": pl.String,  # what made this row, see factory/work/fingerprint.py
        "status": pl.String,  # ok | truncated | failed
        "reason": pl.String,  # Failure, null unless failed
        "detail": pl.String,  # the engine's own words on a failure, <= 500 characters
        "text": pl.String,  # the caption, white space at its ends removed; null when failed
        "reasoning": pl.String,  # what a thinking model wrote before it, parsed off; null where there was none
        "reasoning_tokens": pl.Int32,  # of output_tokens, those of the reasoning and its marks; null where there was none
        "finish_reason": pl.String,  # vLLM's: stop | length | ...
        "stop_reason": pl.String,  # the stop string or token that ended it, if one did
        "prompt_id": pl.String,
        "prompt": pl.String,  # the user text that was sent, {original} and experts' names filled in
        "inputs": pl.String,  # what was filled in, or what a fusion was made from, a line each; null where nothing was
        "original_hash": pl.UInt64,  # of the image's own text, where the prompt asks for {original}; else null
        "inputs_hash": pl.UInt64,  # of a fusion: of its inputs, in the order of `from` (factory/work/fusions.py); null for others
        "parents": PARENTS,  # of a fusion: the rows of its inputs; null for others
        "unfused": pl.String,  # Unfused, of a fused caption that does not stand and of the one that stands for it; null for others
        "prompt_tokens": pl.Int32,  # tokens sent, image tokens included
        "output_tokens": pl.Int32,  # tokens generated
        "cost": pl.Float64,  # of a server's that has a price, its share of the request, in the money of the price
        "max_tokens": pl.Int32,  # the view's limit on them
        "mean_logprob": pl.Float64,  # mean natural log-probability of the caption's tokens (not its reasoning's), <= 0
        "min_logprob": pl.Float64,  # the least of them, <= 0
        "sentence_logprobs": SENTENCE_LOGPROBS,  # the same of each sentence's tokens
        "seed": pl.Int64,  # the request's sampling seed, 0 ... 2^63-1
        "model": pl.String,  # as the recipe names it; PERSON where somebody edited the text
        "model_revision": pl.String,  # commit of a Hub model, content hash of a local one
        "lora": pl.String,  # adapter, null if none
        "template_sha256": pl.String,  # of the chat template; null where a server has it
        "width": pl.Int32,  # pixels sent
        "height": pl.Int32,
        "source_width": pl.Int32,  # pixels of the original, as stored in the file
        "source_height": pl.Int32,
        "source_format": pl.String,
        "image_sha256": pl.String,  # of the original bytes, hex
        "engine": pl.String,  # engine and version
        "created_ms": pl.Int64,  # milliseconds since 1970, UTC
    }
)

# One row per image that cannot be used.
QUARANTINE = pl.Schema(
    {
        "image_key": pl.String,
        "shard": pl.String,
        "fingerprint": pl.String,  # of the image preparation that refused it
        "reason": pl.String,  # prepare.Reason
        "detail": pl.String,  # <= 200 characters
        "image_sha256": pl.String,  # null where there were no bytes
        "created_ms": pl.Int64,
    }
)

# One row per reading of a shard: what is in the source, as hashes (factory/sources/shard_keys.py).
SHARDS = _schema(
    {
        "shard": pl.String,
        "stat": pl.String,  # what the shard looked like when it was read, and how; see sources/source.py
        "scheme": pl.UInt64,  # of the hashes: those of another version of Polars are no longer known
        "take": pl.Int64,  # only this many rows were read; null: all
        "rows": pl.Int64,  # rows read, whatever became of them
        "keys": pl.List(pl.UInt64),  # of each row its key, in the order of the shard
        "contents": pl.List(pl.UInt64),  # of each row the image's bytes; 0 where they could not be read
        "texts": pl.List(pl.UInt64),  # of each row its own text
        "created_ms": pl.Int64,
    }
)

# One row per shard whose own texts have been read as the view `original`.
ORIGINALS = pl.Schema(
    {
        "shard": pl.String,
        "stat": pl.String,  # what the shard looked like when it was read
        "fingerprint": pl.String,  # of the rows made from it
        "rows": pl.Int64,  # rows read
        "refused": pl.Int64,  # rows of these in quarantine
        "take": pl.Int64,  # only this many rows were asked for; null: all
        "created_ms": pl.Int64,
    }
)


class ExpertState(StrEnum):
    """How an expert ended with an image."""

    found = "found"
    nothing = "nothing"  # it looked, and there is nothing to say
    failed = "failed"  # the next run tries again where a caption of the image is to be made


class ExpertFailure(StrEnum):
    """Why an expert failed on an image."""

    crashed = "crashed"  # its process ended
    timeout = "timeout"  # longer than its timeout_s
    error = "error"  # it raised an exception
    bad_answer = "bad_answer"  # it gave what is no finding
    undecodable = "undecodable"  # the image has no pixels for it


# experts/<name>: one row per image (its bytes) and fingerprint of the expert.
EXPERTS = _schema(
    {
        "image_key": pl.String,  # of the image; where several have the same bytes, of the first
        "shard": pl.String,
        "image_sha256": pl.String,  # of the original bytes, hex
        "fingerprint": pl.String,  # of the expert: kind, version, parameters, models, code
        "state": pl.String,  # found | nothing | failed
        "reason": pl.String,  # ExpertFailure, null unless failed
        "detail": pl.String,  # <= 300 characters
        "text": pl.String,  # what goes into prompts; '' where nothing was found, null when failed
        "findings": pl.List(  # each thing it found; box: left, top, right, bottom as shares of width and height, [0, 1], or null
            pl.Struct({"text": pl.String, "confidence": pl.Float64, "box": pl.List(pl.Float64)})
        ),
        "seconds": pl.Float64,  # that it took, without the start of its process
        "created_ms": pl.Int64,  # milliseconds since 1970, UTC
    }
)

# A sample of small pictures for the report.
GALLERY = pl.Schema({"image_key": pl.String, "thumbnail": pl.Binary})  # JPEG

# scores/<filter>/<caption part>: the rows of that caption part, in its order, and the filter's evidence columns.
SCORE_KEYS = pl.Schema(
    {"image_key": pl.String, "view": pl.String, "candidate": pl.Int16, "caption_fingerprint": pl.String}
)
SCORE = pl.Schema([*SCORE_KEYS.items(), ("score", pl.Float64)])  # [0, 1], higher is better; null: could not be judged

# answers/<judge>: one row per image and question of a VLM filter, and per control.
ANSWERS = _schema(
    {
        "image_key": pl.String,
        "question": pl.String,  # filters.asking.questions.Question.id
        "asked": pl.String,  # its text
        "filter": pl.String,  # that asked it first; null in tables written before there was this column
        "allowed": pl.List(pl.String),  # answers that its values are the probabilities of; empty for a text's
        "control": pl.String,  # null; shuffled: asked about another image than its own; blank: about a blank one
        "values": pl.List(pl.Float64),  # filters.contract.answers.ANSWER has these five
        "ends": pl.List(pl.UInt32),
        "elsewhere": pl.Float64,
        "said": pl.String,  # <= 40,000 characters; absent from tables written before there were open questions
        "problem": pl.String,
        "created_ms": pl.Int64,
    }
)

# One row per caption of the recipe as it stands.
SELECTION = pl.Schema(
    {
        "image_key": pl.String,
        "shard": pl.String,
        "view": pl.String,
        "candidate": pl.Int16,
        "fingerprint": pl.String,  # of the caption
        "kept": pl.Boolean,
        "reason": pl.String,  # the first rule that dropped it; null when kept
    }
)

# labels/: one row per verdict of a person, the last of an annotator about the same caption or sentence counts.
LABELS = _schema(
    {
        "image_key": pl.String,
        "view": pl.String,
        "candidate": pl.Int16,
        "fingerprint": pl.String,  # of the caption
        "start": pl.UInt32,  # where the sentence begins in its caption, in characters; null: about the whole caption
        "verdict": pl.String,  # right | wrong | unsure | undone
        "annotator": pl.String,  # the name given in the app
        "created_ms": pl.Int64,  # milliseconds since 1970, UTC; no two rows of one server are alike
    }
)

# decisions/: one row per decision of a person, the last about the same caption counts, whoever made it.
DECISIONS = _schema(
    {
        "image_key": pl.String,
        "shard": pl.String,
        "view": pl.String,
        "candidate": pl.Int16,
        "fingerprint": pl.String,  # of the caption
        "decision": pl.String,  # accepted | rejected | undone
        "annotator": pl.String,
        "created_ms": pl.Int64,
    }
)

# comparisons/: one row per answer of a person about two captions of an image, the last about the same pair counts.
COMPARISONS = _schema(
    {
        "a": pl.String,  # what was compared, as it was named on the command line
        "b": pl.String,
        "image_key": pl.String,
        "texts": pl.String,  # hash of the two captions
        "left": pl.String,  # which of the two stood at the left, or first: a | b
        "question": pl.String,  # made_up | says_more
        "answer": pl.String,  # a | b | tie | undone
        "annotator": pl.String,
        "created_ms": pl.Int64,
    }
)


# One row per image that is not in the release as it was selected.
LEFT_OUT = pl.Schema(
    {
        "image_key": pl.String,
        "shard": pl.String,
        "reason": pl.String,  # one of factory.outcome.LEFT_OUT
    }
)


def completed(frame: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
    """The frame with the columns of the schema that it lacks, all null: what an older version wrote."""
    there = frame.collect_schema().names()
    return frame.with_columns(pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in there)


ANSWER_KEY = ["image_key", "question", "control"]
CAPTION_KEY = ["image_key", "view", "candidate"]

RUNG_CANDIDATES = 100
"""The first candidate of rung k is k times this; a view has 64 at most."""
MOST_RUNGS = 99
FALLBACK_CANDIDATE = 90
"""The candidate of a fusion that is the caption of its `fallback`: one that the model wrote has less."""
CUT_CANDIDATES = 10_000
"""A cut caption has the number of the candidate it was cut from and this."""
EDIT_CANDIDATES = 20_000
"""The first candidate that is a person's edit; those of an image and view are counted up from here."""
PERSON = "person"
"""The model of a caption whose text a person edited."""
