"""Atomic claims by a language model: what it is asked, and what of its reply is believed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from filters.asking.questions import Question
from filters.claims.claim import KINDS, Claim, Kind
from filters.wording.sentences import Sentence
from filters.wording.statements import ADDRESSES_JUDGE, as_statement

MAX_REPLY: Final = 40_000
MAX_STATEMENT: Final = 300
PROMPT: Final = """\
Take a caption of an image apart into atomic claims. An atomic claim says one thing and is a short full sentence that stands \
alone: no pronouns, no "the same". Its kind is one of
- object: that something is there;
- attribute: the colour, size, material, state or action of one object;
- count: how many there are;
- relation: how two objects are to each other, or where one is;
- text: what is written in the image.
Say nothing that the caption does not say, and leave nothing out. The caption's sentences are numbered. Reply with a JSON list \
and nothing else: of each claim its "id" from 1, the "sentence" it comes from, its "kind", the "claim", and in "needs" the ids of \
the claims before it without which it makes no sense.

Caption:
1. Two brown dogs run on a beach.
2. A sign beside them reads "No swimming".
[{"id": 1, "sentence": 1, "kind": "object", "claim": "There are dogs.", "needs": []},
{"id": 2, "sentence": 1, "kind": "count", "claim": "There are two dogs.", "needs": [1]},
{"id": 3, "sentence": 1, "kind": "attribute", "claim": "The dogs are brown.", "needs": [1]},
{"id": 4, "sentence": 1, "kind": "attribute", "claim": "The dogs are running.", "needs": [1]},
{"id": 5, "sentence": 1, "kind": "object", "claim": "There is a beach.", "needs": []},
{"id": 6, "sentence": 1, "kind": "relation", "claim": "The dogs are on a beach.", "needs": [1, 5]},
{"id": 7, "sentence": 2, "kind": "object", "claim": "There is a sign.", "needs": []},
{"id": 8, "sentence": 2, "kind": "relation", "claim": "A sign is beside the dogs.", "needs": [1, 7]},
{"id": 9, "sentence": 2, "kind": "text", "claim": "A sign reads \\"No swimming\\".", "needs": [7]}]

Caption:
1. An elderly man in a blue coat sits on a wooden bench.
[{"id": 1, "sentence": 1, "kind": "object", "claim": "There is a man.", "needs": []},
{"id": 2, "sentence": 1, "kind": "attribute", "claim": "The man is elderly.", "needs": [1]},
{"id": 3, "sentence": 1, "kind": "object", "claim": "There is a coat.", "needs": []},
{"id": 4, "sentence": 1, "kind": "attribute", "claim": "The coat is blue.", "needs": [3]},
{"id": 5, "sentence": 1, "kind": "relation", "claim": "The man is in a coat.", "needs": [1, 3]},
{"id": 6, "sentence": 1, "kind": "object", "claim": "There is a bench.", "needs": []},
{"id": 7, "sentence": 1, "kind": "attribute", "claim": "The bench is wooden.", "needs": [6]},
{"id": 8, "sentence": 1, "kind": "relation", "claim": "The man sits on a bench.", "needs": [1, 6]}]

Caption:
{sentences}
"""
_LIST: Final = re.compile(r"\[.*\]", re.DOTALL)


class Unreadable(Exception):
    """A reply that is no list of claims; the message is the reason."""


def decomposing_question(found: Sequence[Sentence], prompt: str, max_tokens: int) -> Question | None:
    """The question for a caption's claims, asked without the image; None where no sentence may be put to a model.

    `prompt`: what is asked, the numbered sentences put in for {sentences}.
    """
    numbered = [
        f"{number}. {as_statement(one.text)}"
        for number, one in enumerate(found, 1)
        if not ADDRESSES_JUDGE.search(one.text)
    ]
    if not numbered:
        return None
    return Question(prompt.replace("{sentences}", "\n".join(numbered)), sees="nothing", max_tokens=max_tokens)


def claims_in_reply(reply: str, text: str, found: Sequence[Sentence], most: int) -> tuple[Claim, ...]:
    """The claims of a reply, parents before children, in the order of the reply.

    A reply is not to be trusted. Of a claim that names no sentence of the caption, or shares no word with the one that it
    names, the sentence is unknown: it is of kind `other`, about the whole caption. A claim that speaks to the judge and a
    dependency on itself or on a later claim are left out. A sentence without a claim becomes one, of kind `other`.

    Raises:
        Unreadable: no JSON list of such claims, more than `most` of them, or one of more than 300 characters.
    """
    claims: list[Claim] = []
    places: dict[int, int] = {}
    for item in _items(reply, most):
        statement = as_statement(item["claim"])
        if ADDRESSES_JUDGE.search(statement):
            continue
        number = item["sentence"]
        kind: Kind = item["kind"]
        start, end = 0, len(text)
        if 1 <= number <= len(found) and _shares_word(statement, found[number - 1].text):
            start, end = found[number - 1].start, found[number - 1].end
        else:
            kind = "other"
        parents = tuple(dict.fromkeys(places[one] for one in item["needs"] if one in places))
        places.setdefault(item["id"], len(claims))
        claims.append(Claim(kind, statement, start, end, parents))
    covered = {(one.start, one.end) for one in claims if one.kind != "other"}
    for sentence in found:
        if (sentence.start, sentence.end) not in covered:
            claims.append(Claim("other", as_statement(sentence.text), sentence.start, sentence.end))
    return tuple(claims)


def _items(reply: str, most: int) -> list[dict[str, Any]]:
    listed = _LIST.search(reply[:MAX_REPLY])
    if listed is None:
        raise Unreadable(f"the judge's reply holds no list of claims: {_short(reply)}")
    try:
        items = json.loads(listed.group())
    except (ValueError, RecursionError):
        raise Unreadable(f"the judge's reply is no JSON: {_short(reply)}") from None
    if not isinstance(items, list) or len(items) > most:
        raise Unreadable(f"the judge replied with {len(items)} claims, more than {most}")
    for item in items:
        if not _is_claim(item):
            raise Unreadable(f"the judge's reply has something else than a claim: {_short(json.dumps(item))}")
    return items


def _is_claim(item: object) -> bool:
    if not isinstance(item, dict) or set(item) != {"id", "sentence", "kind", "claim", "needs"}:
        return False
    needs = item["needs"]
    return (
        _is_number(item["id"])
        and _is_number(item["sentence"])
        and item["kind"] in KINDS
        and isinstance(item["claim"], str)
        and any(mark.isalnum() for mark in item["claim"])
        and len(item["claim"]) <= MAX_STATEMENT
        and isinstance(needs, list)
        and all(map(_is_number, needs))
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shares_word(statement: str, sentence: str) -> bool:
    """Whether a word of three letters or more, or its beginning, is in both."""
    return bool(_stems(statement) & _stems(sentence))


def _stems(text: str) -> set[str]:
    common = {"there", "the", "and", "are", "has", "have", "with"}
    return {
        word[:4]
        for word in re.findall(r"\w+", text.lower())
        if (len(word) > 2 or not word.isascii()) and word not in common
    }


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text[:120])
