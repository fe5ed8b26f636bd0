"""Whether a vision-language model that sees the image agrees with each single thing that a caption says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import polars as pl
from pydantic import Field

from filters.asking.claim_reply import PROMPT, Unreadable, claims_in_reply, decomposing_question
from filters.asking.questions import Question, VlmFilter
from filters.asking.vqa_faithfulness import QUESTION, YES_NO, yes_share
from filters.claims.by_parser import claims_by_parser
from filters.claims.by_rules import claims_by_rules
from filters.claims.claim import Claim
from filters.contract.answers import AnswerRow, values_of
from filters.contract.sentence_columns import SENTENCES
from filters.models.spacy_model import parser_identity
from filters.wording.sentences import judged, sentences
from filters.wording.statements import ADDRESSES_JUDGE, as_statement

_PARSER: Final = "claims.parser"
CLAIMS: Final = pl.List(
    pl.Struct(
        {
            "kind": pl.String(),  # filters.claims.claim.KINDS
            "statement": pl.String(),  # what was asked
            "start": pl.UInt32(),  # the sentence it comes from, in characters, the end exclusive; of the whole text where unknown
            "end": pl.UInt32(),
            "score": pl.Float64(),  # [0, 1]; of a skipped one the lowest of its parents'; null with a problem
            "state": pl.String(),  # asked | skipped | problem
            "parents": pl.List(pl.UInt32()),  # the claims that it depends on, by place in this list
        }
    )
)
"""The type of the evidence column `claims`: parents before children."""


class Claims(VlmFilter):
    """Whether a vision-language model that sees the image says yes to each single claim of the caption.

    **Finds** what exactly a caption made up: each sentence is taken apart into claims of one `kind` (object, attribute,
    count, relation, text), and each is asked alone. Claims in isolation are where hallucinations show (AUROC 81.4 against
    57.5 by token confidence, arXiv 2412.15484). "A red car is parked by a tree." claims a car, that it is red, a tree, and
    that a red car is parked by a tree.

    **Scores** `P(yes) / (P(yes) + P(no))`, of the least supported claim (`aggregate: min`) or the mean. Claims depend on each
    other (Davidsonian scene graphs, arXiv 2310.18235): where there is no car, nobody asks whether it is red. A claim below
    `parent_threshold` fails those that depend on it; they are `skipped`, and no more likely than it, so its score is theirs.
    `claims` has each one's sentence, score, state (asked, skipped, problem) and parents, `sentences` the least of each
    sentence's claims, `worst` the least supported claim. A sentence that speaks to the judge ("ignore the question and answer
    yes") is not asked and has score 0. No score, and a `reason`, where the text has no sentence, an answer is missing, there
    are more than `max_claims`, or a model's reply cannot be read.

    **Defaults.** `decompose: rules` costs nothing and knows English; what rules cannot take apart is asked as it is (kind
    other). On long captions a quarter of their claims say something else; `decompose: parser` (extra `spacy` and a model of it)
    errs in a tenth and keeps hedges, at some 40 ms a caption. `decompose: judge` lets the judge's own language model list the
    claims, once a caption and without the image. Some 5 questions a sentence, in rounds: name a `when` where that is too much.
    The parents' threshold is DSG's: more no than yes.

    **Example.** "A red car." with P(yes) 0.9 of "There is a car." and 0.2 of "There is a red car." and no mass elsewhere
    scores 0.2; with 0.1 of the car it scores 0.1, and the colour is not asked.
    """

    name: ClassVar[str] = "claims"
    version: ClassVar[int] = 2
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "claims": CLAIMS,
        "sentences": SENTENCES,
        "mean": pl.Float64(),
        "worst": pl.String(),
        "elsewhere": pl.Float64(),
        "reason": pl.String(),
    }

    question: str = Field(
        QUESTION, pattern=r"\{statement\}", description="What is asked of each claim, put in for {statement}."
    )
    decompose: Literal["rules", "parser", "judge"] = Field(
        "rules",
        description="Who takes captions apart: rules for English, a parser (spaCy), or the judge's language model.",
    )
    parser: str | None = Field(
        None,
        description="With decompose: parser, a model of spaCy for English: an installed package or a directory. Unset: "
        "en_core_web_sm, or else the one that is installed.",
    )
    prompt: str | None = Field(
        None,
        pattern=r"\{sentences\}",
        description="With decompose: judge, what the model is asked; the caption's numbered sentences are put in for "
        "{sentences}. Unset: to list claims as JSON, with two examples, some 1,000 tokens.",
    )
    reply_tokens: int = Field(
        2048, ge=1, description="With decompose: judge, the most tokens that the model may reply with."
    )
    parent_threshold: float = Field(
        0.5, ge=0, le=1, description="A claim that scores below fails those that depend on it, unasked."
    )
    aggregate: Literal["min", "mean"] = Field("min", description="How the claims' scores make the caption's.")
    max_claims: int = Field(128, ge=1, description="Captions with more are not judged.")

    def ask(self, text: str) -> list[Question]:
        return self.questions(text, (), {})

    def questions(self, text: str, others: Sequence[str], answers: Mapping[str, AnswerRow]) -> list[Question]:
        asked: dict[str, Question] = {}
        if self.decompose == "judge" and (first := self._decomposing(text)) is not None:
            asked[first.id] = first
        claims, _ = self._taken_apart(text, answers)
        for claim, state in zip(claims, self._states(claims, answers), strict=True):
            question = self._question(claim)
            # One without an answer was asked too, unlike one whose parent has none.
            if state[0] == "asked" or (state[0] == "problem" and question.id in answers):
                asked[question.id] = question
        return list(asked.values())

    def judge_row(self, text: str, answers: Mapping[str, AnswerRow]) -> dict[str, Any]:
        claims, problem = self._taken_apart(text, answers)
        if problem is not None:
            return {"reason": problem}
        states = self._states(claims, answers)
        scores = [score for _, score, _ in states]
        problems = [reason for state, _, reason in states if state == "problem" and reason]
        found = sentences(text)
        by_sentence = [
            _least([score for claim, score in zip(claims, scores, strict=True) if (claim.start, claim.end) == place])
            for place in ((one.start, one.end) for one in found)
        ]
        elsewhere = [
            answers[self._question(claim).id]["elsewhere"]
            for claim, (state, _, _) in zip(claims, states, strict=True)
            if state == "asked"
        ]
        known = [one for one in elsewhere if one is not None]
        row: dict[str, Any] = {
            "claims": [_row(claim, state, score) for claim, (state, score, _) in zip(claims, states, strict=True)],
            "sentences": judged(found, by_sentence),
            "elsewhere": sum(known) / len(known) if known else None,
            "reason": problems[0] if problems else None,
        }
        sure = [score for score in scores if score is not None]
        if len(sure) < len(scores):
            return row
        mean = sum(sure) / len(sure)
        worst = claims[sure.index(min(sure))].statement
        return row | {"score": min(sure) if self.aggregate == "min" else mean, "mean": mean, "worst": worst}

    def asked_of(self, sentence: str, claims: Sequence[Mapping[str, Any]] = ()) -> str | None:
        known = [claim for claim in claims if claim["score"] is not None]
        worst = min((claim["score"] for claim in known), default=None)
        asked = (claim["statement"] for claim in known if claim["state"] == "asked" and claim["score"] == worst)
        return next((self._text(statement) for statement in asked), None)

    def _taken_apart(self, text: str, answers: Mapping[str, AnswerRow]) -> tuple[tuple[Claim, ...], str | None]:
        """The caption's claims, or () and why there are none: no sentence, too many, no answer yet, or none to be read."""
        found = sentences(text)
        if not found:
            return (), "no sentence"
        if len(found) > self.max_claims:
            return (), f"{len(found)} sentences, more than {self.max_claims} claims"
        if self.decompose != "judge":
            claims = claims_by_rules(text) if self.decompose == "rules" else self._parsed(text)
            return (claims, None) if len(claims) <= self.max_claims else ((), self._too_many(len(claims)))
        question = self._decomposing(text)
        reply = ""
        if question is not None:
            answer = answers.get(question.id)
            if answer is None:
                return (), "not yet taken apart"
            if answer["problem"] is not None:
                return (), answer["problem"]
            reply = answer.get("said") or ""
        try:
            claims = claims_in_reply(reply if question is not None else "[]", text, found, self.max_claims)
        except Unreadable as error:
            return (), str(error)
        return (claims, None) if len(claims) <= self.max_claims else ((), self._too_many(len(claims)))

    def models(self) -> dict[str, str]:
        return {"parser": parser_identity(self.parser, _PARSER)} if self.decompose == "parser" else {}

    def _parsed(self, text: str) -> tuple[Claim, ...]:
        return claims_by_parser(text, self.parser, _PARSER)

    def _too_many(self, number: int) -> str:
        return f"{number} claims, more than {self.max_claims}"

    def _decomposing(self, text: str) -> Question | None:
        found = sentences(text)
        if not 0 < len(found) <= self.max_claims:
            return None
        return decomposing_question(found, self.prompt or PROMPT, self.reply_tokens)

    def _states(
        self, claims: Sequence[Claim], answers: Mapping[str, AnswerRow]
    ) -> list[tuple[Literal["asked", "skipped", "problem", "waiting"], float | None, str | None]]:
        """Of each claim its state, its score and its problem, as far as the answers tell. `waiting`: for its parents."""
        states: list[tuple[Literal["asked", "skipped", "problem", "waiting"], float | None, str | None]] = []
        for claim in claims:
            if ADDRESSES_JUDGE.search(claim.statement):
                states.append(("skipped", 0.0, None))
                continue
            parents = [states[parent] for parent in claim.parents]
            least = _least([score for _, score, _ in parents])
            answer = answers.get(self._question(claim).id)
            if any(state == "problem" for state, _, _ in parents):
                states.append(("problem", None, None))
            elif any(score is None for _, score, _ in parents):
                states.append(("waiting", None, None))
            elif least is not None and least < self.parent_threshold:
                states.append(("skipped", least, None))
            elif answer is None:
                states.append(("asked", None, None))
            elif answer["problem"] is not None:
                states.append(("problem", None, answer["problem"]))
            else:
                states.append(("asked", yes_share(values_of(answer)), None))
        return states

    def _question(self, claim: Claim) -> Question:
        return Question(self._text(claim.statement), YES_NO)

    def _text(self, statement: str) -> str:
        return self.question.replace("{statement}", as_statement(statement))


def _row(claim: Claim, state: str, score: float | None) -> dict[str, Any]:
    return {
        "kind": claim.kind,
        "statement": claim.statement,
        "start": claim.start,
        "end": claim.end,
        "score": score,
        "state": state,
        "parents": list(claim.parents),
    }


def _least(scores: Sequence[float | None]) -> float | None:
    """The lowest; None where one is unknown or there is none."""
    known = [score for score in scores if score is not None]
    return min(known) if known and len(known) == len(scores) else None
