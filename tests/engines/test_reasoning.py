"""A model's reasoning is told from its caption, by vLLM's parsers and by marks. The tokenizers are real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from factory.demo.checkpoint import checkpoint_path
from factory.engines.logprobs import logprob_fields
from factory.engines.reasoning import Parted, ReasoningParser
from factory.errors import EngineError
from tests.ready import ready_view

CAPTION = "A red bus waits."


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """With the marks of Qwen as tokens, which texts keep, and those of Gemma, which they do not."""
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(checkpoint_path("small"))
    loaded.add_tokens(["<think>", "</think>", "<tool_call>", "</tool_call>"])
    return loaded


def parser(
    folder: Path, tokenizer: Any, kind: str = "unheard_of", special: tuple[str, ...] = (), **settings: Any
) -> ReasoningParser:
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    return ReasoningParser(ready_view(str(folder), **settings), tokenizer, special)


@pytest.mark.parametrize("kind", ["qwen3_vl", "unheard_of"])
@pytest.mark.parametrize("prompt", ["Assistant:", "Assistant:<think>\n"])
def test_reasoning_before_a_closing_mark_is_no_caption(tmp_path: Path, tokenizer: Any, kind: str, prompt: str) -> None:
    output = f"The bus is red.\n</think>\n\n{CAPTION}"

    found = parser(tmp_path, tokenizer, kind).parted(output, prompt)

    assert found == Parted("The bus is red.", CAPTION, output.index(CAPTION))


@pytest.mark.parametrize("kind", ["qwen3_vl", "unheard_of"])
def test_a_caption_without_marks_is_whole(tmp_path: Path, tokenizer: Any, kind: str) -> None:
    assert parser(tmp_path, tokenizer, kind).parted(f" {CAPTION}\n", "Assistant:") == Parted(None, CAPTION, 1)


@pytest.mark.parametrize("kind", ["qwen3_vl", "unheard_of"])
def test_who_was_told_to_think_and_was_cut_gives_no_caption(tmp_path: Path, tokenizer: Any, kind: str) -> None:
    found = parser(tmp_path, tokenizer, kind).parted("The bus is", "Assistant:<think>\n")
    assert (found.reasoning, found.answer) == ("The bus is", "")


def test_thinking_that_was_closed_for_the_model_leaves_its_caption(tmp_path: Path, tokenizer: Any) -> None:
    told = parser(tmp_path, tokenizer, "qwen3_vl", chat_template={"enable_thinking": False})
    assert told.parted(CAPTION, "Assistant:<think>\n\n</think>\n\n") == Parted(None, CAPTION, 0)


def test_reasoning_is_left_where_the_recipe_says_so(tmp_path: Path, tokenizer: Any) -> None:
    text = f"<think>Red.</think>{CAPTION}"
    assert parser(tmp_path, tokenizer, reasoning="none").parted(text, "") == Parted(None, text, 0)


def test_a_named_parser_is_obeyed(tmp_path: Path, tokenizer: Any) -> None:
    named = parser(tmp_path, tokenizer, reasoning="deepseek_r1")
    assert named.parted("No closing mark", "Assistant:").answer == ""


def test_a_parser_that_does_not_know_the_models_marks_is_an_error(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(EngineError, match="reasoning: minimax_m3: this parser does not suit"):
        parser(tmp_path, tokenizer, reasoning="minimax_m3")


def test_marks_that_texts_leave_out_are_asked_for_and_taken_off(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(checkpoint_path("small"))
    loaded.add_special_tokens({"additional_special_tokens": ["◁think▷", "◁/think▷", "<|end|>"]})
    kept = parser(tmp_path, loaded, special=("◁think▷", "◁/think▷", "<|end|>"))

    assert kept.keeps_special
    assert kept.parted(f"◁think▷Red.◁/think▷{CAPTION}<|end|>", "").answer == CAPTION
    assert kept.parted(f"{CAPTION}<|end|>", "").answer == CAPTION


def test_log_probabilities_are_those_of_the_caption() -> None:
    tokens = ["<think>", "Red.", "</think>", "\n", "A", " bus.", ""]
    fields = logprob_fields(
        "A bus.", len("<think>Red.</think>\n"), tokens, [-9.0, -9.0, -9.0, -9.0, -1.0, -2.0, -0.3], 4
    )

    assert fields["min_logprob"] == -2.0
    assert fields["mean_logprob"] == pytest.approx(-1.1)
    (sentence,) = fields["sentence_logprobs"]
    assert (sentence["start"], sentence["end"], sentence["tokens"]) == (0, 6, 2)
