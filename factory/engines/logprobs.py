"""The log-probabilities of a caption, as a whole and sentence by sentence, from those of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from filters.wording.sentences import by_sentence, sentences


def logprob_fields(
    text: str, start: int, tokens: Sequence[str | None], logprobs: Sequence[float], thought: int = 0
) -> dict[str, Any]:
    """The fields of a Completion about log-probabilities.

    Args:
        text: the answer.
        start: where it begins in all that was written, in characters.
        tokens: what was written, token by token; None where a token is no text of its own.
        logprobs: of each, natural.
        thought: the first so many are no part of the answer.
    """
    own = logprobs[thought:] if text else []
    before = start - sum(len(token or "") for token in tokens[:thought])
    return {
        "mean_logprob": sum(own) / len(own) if own else None,
        "min_logprob": min(own) if own else None,
        "sentence_logprobs": _sentence_logprobs(text, before, tokens[thought:], own) if own else [],
    }


def _sentence_logprobs(
    text: str, before: int, tokens: Sequence[str | None], logprobs: Sequence[float]
) -> list[dict[str, Any]]:
    """Where each sentence of a text lies and what its tokens' log-probabilities are; `before`: characters cut off in front.

    A token belongs to the sentence in which it ends. Where a character is spread over several tokens its place is not exact.
    """
    found = sentences(text)
    written = [(token, logprob) for token, logprob in zip(tokens, logprobs, strict=True) if token]
    ends = [end - before for end in accumulate(len(token) for token, _ in written)]
    values = by_sentence(found, ends, [logprob for _, logprob in written])
    return [
        {"start": one.start, "end": one.end, "tokens": len(some), "mean": sum(some) / len(some), "min": min(some)}
        for one, some in zip(found, values, strict=True)
        if some
    ]
