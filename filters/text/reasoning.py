"""The marks by which models set their reasoning apart from their answer, and the answer without it.

One grammar for all dialects: a bracket, a word for thinking, perhaps a slash or "end" for the closing mark. `<think>` (Qwen,
DeepSeek), `◁think▷` (Kimi), `[THINK]` (Magistral), `<seed:think>`, `<|START_THINKING|>` (Cohere), `<|begin_of_thought|>`,
`<|channel>thought` with `<channel|>` (Gemma), `<|channel|>analysis<|message|>` with `<|channel|>final<|message|>` (gpt-oss, also
with its tokens lost: "assistantfinal"), `<unused94>thought` with `<unused95>` (MedGemma), `<SUMMARY>`, `<REASONING>` (LLaVA-CoT).
"""

import re
from collections import deque
from typing import Final

_WORD: Final = (
    r"(?:[a-z]{1,12}[:_-])?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflect(?:ion|ing)?|cot|chain_of_thought"
    r"|scratch_?pad|analysis|analyze"
    r"|inner_monologue|monologue|rationale|planning|summary|cot_budget_reflect)(?:_[a-z0-9]{1,12})?"
)
_OPENS: Final = (
    rf"(?:[<◁⟨〈]|&lt;){_WORD}\s?(?:[>▷⟩〉]|&gt;)|\[(?:think(?:ing)?|thoughts?|reasoning|cot)\]"
    rf"|<[|｜](?:start_of_|begin_of_|start_|begin_|start▁of▁|begin▁of▁)?{_WORD}(?:_start|_begin)?[|｜]>"
    r"|(?:<\|start\|>\s?assistant\s?)?<\|channel\|?>\s?(?:thoughts?|thinking|analysis|commentary"
    r"|reasoning)(?:\s?<\|message\|>|\s)?|<unused94>\s?(?:thought)?"
)
_CLOSES: Final = (
    rf"(?:[<◁⟨〈]|&lt;)\s?/\s?{_WORD}\s?(?:[>▷⟩〉]|&gt;)|\[/(?:think(?:ing)?|thoughts?|reasoning|cot)\]"
    rf"|<[|｜](?:/|end_of_|end_|end▁of▁){_WORD}[|｜]>|<[|｜]{_WORD}_end[|｜]>"
    r"|(?:<\|end\|>\s?)?(?:<\|start\|>\s?assistant\s?)?<\|channel\|>\s?final\s?<\|message\|>|<channel\|>"
    r"|<unused95>|assistantfinal"
)
_ANSWERS: Final = r"conclusion|final_?answer|answer|final|response|solution|output|caption|description"
MARKS: Final = rf"(?i:{_CLOSES}|{_OPENS})"
"""A mark that opens or closes reasoning, for Polars' patterns as for Python's."""

_MARK: Final = re.compile(rf"(?i)(?P<closes>{_CLOSES})|(?P<opens>{_OPENS})")
_ELEMENT: Final = re.compile(
    rf"(?i)<(?P<slash>/?)(?P<name>{_ANSWERS})>|<[|｜](?P<edge>begin_of_|start_|end_of_|end_)(?P<named>{_ANSWERS})["
    rf"|｜]>"
)
_REST: Final = re.compile(r"<\|(?:end|return|call|start|message|eot_id|im_start|im_end)\|>|<turn\|>")
_ORDER: Final = _ANSWERS.split("|")


def answer_of(text: str) -> str:
    """A text less its reasoning and the marks around its answer; the same text where it has no mark of reasoning.

    See `split_reasoning`.
    """
    return split_reasoning(text)[1]


def split_reasoning(text: str, opened: bool = False) -> tuple[str | None, str]:
    """(reasoning, answer) of a text, without the marks; (None, the text as it is) where it has no mark of reasoning.

    What lies between an opening and a closing mark is reasoning; so is what precedes a closing mark without an opening one, and
    what follows an opening mark that nothing closes: a model that was cut while it thought has given no answer. Of named
    answers (`<CAPTION>`, `<answer>`, ...) the most final is taken. Takes time linear in the text.

    Args:
        text: what a model wrote.
        opened: whether its prompt had opened the reasoning; see `is_open`.
    """
    kept: list[str] = []
    thought: list[str] = []
    at, thinking, marked = 0, opened, opened
    for mark in _MARK.finditer(text):
        marked = True
        before, at = text[at : mark.start()], mark.end()
        if thinking:
            thought.append(before)
        elif mark["closes"]:
            thought += [*kept, before]
            kept.clear()
        else:
            kept.append(before)
        thinking = not mark["closes"]
    if not marked:
        return None, text
    (thought if thinking else kept).append(text[at:])
    answer = _REST.sub("", _named_answer(" ".join(_filled(kept)))).strip()
    return "\n".join(_filled(thought)) or None, answer


def is_open(prompt: str) -> bool:
    """Whether a prompt ends within reasoning: its last mark opens one, so that the model goes on with it."""
    marks = deque(_MARK.finditer(prompt), maxlen=1)
    last = marks[0] if marks else None
    return last is not None and last["opens"] is not None and not prompt[last.end() :].strip()


def marks_reasoning(text: str) -> bool:
    """Whether a text has a mark of reasoning, of any dialect."""
    return _MARK.search(text) is not None


def _filled(parts: list[str]) -> list[str]:
    return [part.strip() for part in parts if part.strip()]


def _named_answer(text: str) -> str:
    answers: dict[str, str] = {}
    name, start = None, 0
    for mark in _ELEMENT.finditer(text):
        edge = "/" if mark["slash"] or (mark["edge"] or "").startswith("end") else ""
        if name is not None:
            answers[name] = text[start : mark.start()].strip() or answers.get(name, "")
        name, start = (None, 0) if edge else ((mark["name"] or mark["named"]).lower(), mark.end())
    if name is not None:
        answers[name] = text[start:].strip() or answers.get(name, "")
    given = [answers[one] for one in _ORDER if answers.get(one)]
    return given[0] if given else _ELEMENT.sub(" ", text).strip()
