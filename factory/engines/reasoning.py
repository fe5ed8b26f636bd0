"""A model's reasoning told from its answer: by vLLM's own parsers where there is one for the model, else by known marks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from factory.errors import EngineError
from factory.models.files import model_config
from factory.recipe import AS_IT_IS, AUTO
from filters.text.reasoning import is_open, marks_reasoning, split_reasoning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from factory.work.views import ReadyView

PARSERS: Final = {
    "deepseek_v3": "deepseek_r1", "ernie4_5": "ernie45", "gemma4": "gemma4", "glm4_moe": "glm45", "glm4v": "glm45",
    "glm46v": "glm45", "gpt_oss": "openai_gptoss", "granite": "granite", "hunyuan": "hunyuan_a13b", "kimi_k2": "kimi_k2",
    "kimi_k25": "kimi_k2", "kimi_k3": "kimi_k3", "mimo": "mimo", "minicpmv": "minicpmv", "minimax_m2": "minimax_m2",
    "minimax_m3": "minimax_m3", "nemotron": "nemotron_v3", "olmo3": "olmo3", "qwen3": "qwen3", "seed_oss": "seed_oss",
    "step3p5": "step3p5", "step3": "step3", "cohere2": "cohere_command3",
}  # fmt: skip
"""How `model_type` of a config.json begins, and the parser that vLLM's documentation names for such models. The longest counts."""


@dataclass(frozen=True, slots=True)
class Parted:
    """A model's output in two. `start`: where the answer begins in the output, in characters; its end where there is no answer."""

    reasoning: str | None
    answer: str
    start: int


class ReasoningParser:
    """Parts what one view's model writes."""

    def __init__(self, ready: ReadyView, tokenizer: Any, special: Sequence[str]) -> None:
        """`special`: the strings that the tokenizer reads as one token.

        Raises:
            EngineError: the recipe names a parser that does not know the model's marks.
        """
        name = ready.view.reasoning
        self._leaves = name == AS_IT_IS
        self._is_found = name == AUTO
        self._parser = None
        self._special = tuple(token for token in special if token.strip())
        self.keeps_special = not self._leaves and any(marks_reasoning(token) for token in _skipped(tokenizer))
        """Whether the marks are tokens that are left out of a text unless it is asked for with them."""
        wanted = _parser_for(ready) if self._is_found else name
        if self._leaves or wanted is None:
            return
        from vllm.reasoning import ReasoningParserManager

        try:
            kind = ReasoningParserManager.get_reasoning_parser(wanted)
            self._parser = kind(tokenizer, chat_template_kwargs=dict(ready.view.chat_template))
        except Exception as error:  # each parser complains in its own way about a tokenizer without its marks
            if not self._is_found:
                raise EngineError(
                    f"view '{ready.name}': reasoning: {name}: this parser does not suit {ready.view.model_name} "
                    f"({type(error).__name__}: {error}); choose another, or auto"
                ) from None

    def parted(self, output: str, prompt: str) -> Parted:
        """What the model wrote after this prompt, in two. White space at the ends of both is removed."""
        if self._leaves:
            return _whole(output)
        opened = is_open(prompt)
        if self._is_found and not opened and not marks_reasoning(output):
            return _whole(self._clean(output))
        if self._parser is not None:
            reasoning, answer = self._parser.extract_reasoning(output, _request())
        else:
            reasoning, answer = split_reasoning(output, opened)
        answer, reasoning = self._clean(answer or "").strip(), self._clean(reasoning or "").strip()
        start = output.rfind(answer) if answer else len(output)
        return Parted(reasoning or None, answer, max(start, 0))

    def _clean(self, text: str) -> str:
        """Without the special tokens that were asked for to see the marks."""
        if self.keeps_special:
            for token in self._special:
                text = text.replace(token, "")
        return text


def _whole(output: str) -> Parted:
    return Parted(None, output.strip(), len(output) - len(output.lstrip()))


def _parser_for(ready: ReadyView) -> str | None:
    kind = str((model_config(ready.model) or {}).get("model_type") or "")
    fitting = [start for start in PARSERS if kind.startswith(start)]
    return PARSERS[max(fitting, key=len)] if fitting else None


def _skipped(tokenizer: Any) -> list[str]:
    """The tokens that are left out of a decoded text."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return [str(token) for token in added if getattr(token, "special", False)]


def _request() -> Any:
    """A request as the parsers want to see one; what they read of it is what it does not say."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    return ChatCompletionRequest(messages=[])
