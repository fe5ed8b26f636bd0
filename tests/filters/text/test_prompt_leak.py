import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import PromptLeak

PROMPT = "Describe the image in as much detail as you can."


def leak(text: str, prompt: str | None = None, **limits: float) -> tuple[float, str | None]:
    frame = pl.DataFrame({"text": [text], "prompt": [prompt]}, schema={"text": pl.String, "prompt": pl.String})
    scores = PromptLeak(**limits).score(frame)
    return scores["score"].item(), scores["kind"].item()


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>A dog",
        "A dog<|endoftext|>",
        "A dog<end_of_utterance>",
        "a dog next to <image> and a cat",
        "A dog</s>",
        "[INST] a dog [/INST]",
        "<<SYS>> you are helpful",
        "<think>What is it?</think> A dog",
        "<｜end▁of▁sentence｜>",
        "<start_of_turn>model",
        "<fake_token_around_image><row_1_col_2>",
    ],
)
def test_special_tokens_are_found(text: str) -> None:
    assert leak(text) == (0.0, "special_token")


@pytest.mark.parametrize(
    "text",
    [
        "Assistant: A dog runs.",
        "USER: What is this? ASSISTANT: A dog runs.",
        "A dog runs.\nUser: And now?",
        "A dog runs. Human: And now?",
        "### Human: what is it",
        "assistant\nA dog runs.",
        "**Assistant:** A dog",
    ],
)
def test_role_names_are_found(text: str) -> None:
    assert leak(text) == (0.0, "role")


@pytest.mark.parametrize(
    "text",
    [
        "A dog.\n\nCaption: A dog.",
        "A dog runs. Answer: A dog runs.",
        "A dog.\nQuestion 1: What is it?",
        "A dog.\n\nA possible caption for this image could be: A dog.",
        "A dog. A concise description of the image is: A dog.",
        "A dog runs. Answer in English.",
        "What is it?\nA: a dog",
        "Answer: A dog.\nAnswer: A cat.",
    ],
)
def test_a_model_that_answers_itself_is_found(text: str) -> None:
    assert leak(text) == (0.0, "answer")


@pytest.mark.parametrize(
    "text", ['{"caption": "a dog"}', "{'objects': ['dog']}", '```json\n{"a": 1}\n```', '["dog", "cat"]']
)
def test_json_is_found(text: str) -> None:
    assert leak(text) == (0.0, "json")


@pytest.mark.parametrize(
    "text",
    [
        "Caption: A dog.",
        "  **Description:** A dog.",
        "Here is a detailed description of the image: a dog",
        "Sure! Here's a caption: a dog",
        "A short caption for this image could be: A dog.",
    ],
)
def test_a_wrapper_before_the_caption_costs_most_of_the_score(text: str) -> None:
    assert leak(text) == (0.25, "prefix")


@pytest.mark.parametrize(
    "text",
    [
        "A **red** dog",
        "## Scene\nA dog",
        "It shows\n- a dog\n- a cat",
        "It shows\n1. a dog",
        "a <b>red</b> dog<br/>",
        "| a | b |\n|---|---|",
    ],
)
def test_markup_costs_most_of_the_score(text: str) -> None:
    assert leak(text) == (0.25, "markup")


@pytest.mark.parametrize(
    "text",
    [
        "a dog on a beach",
        "the clock reads 10:15",
        'a sign that says "Answer: 42"',
        "a user: none in sight",
        "I <3 dogs, 2 < 3",
        "the caption of the cartoon is funny",
        "an assistant helps a customer",
        "wanted: executive assistant",
        "HEAD OF STAFF, EXECUTIVE ASSISTANT: MARY",
        "#1 dad mug",
        "# 1 : a dog",
        "*** sold out ***",
        "a description of the exhibit hangs on the wall",
        "dogs, cats [and] {birds}",
        "a - b",
        "the answer",
        "",
    ],
)
def test_ordinary_captions_are_clean(text: str) -> None:
    assert leak(text) == (1.0, None)


def test_the_worst_kind_is_named() -> None:
    assert leak("Caption: a **red** dog <image>") == (0.0, "special_token")


def test_what_was_found_is_evidence() -> None:
    frame = pl.DataFrame({"text": ["A dog.\n\nCaption: A dog.", "a dog"]})

    assert PromptLeak().score(frame)["match"].to_list() == ["Caption:", None]


def test_a_repeated_prompt_is_found() -> None:
    assert leak(f"{PROMPT.upper()} a dog", PROMPT) == (0.0, "prompt_echo")


def test_a_caption_with_other_words_than_the_prompt_is_clean() -> None:
    assert leak("An image of a dog in as much sun as you can find.", PROMPT)[1] is None


def test_part_of_the_prompt_lowers_the_score_by_its_share_of_the_limit() -> None:
    # Ten words make six 5-grams; the caption has one of them.
    score, kind = leak("See the image in as much light as possible", PROMPT)

    assert score == pytest.approx(1 - (1 / 6) / 0.3)
    assert kind is None


def test_an_echo_is_judged_by_the_rows_own_prompt() -> None:
    other = "Write one short sentence about the picture you see."
    frame = pl.DataFrame({"text": [PROMPT, PROMPT, other], "prompt": [PROMPT, other, other]})

    assert PromptLeak().score(frame)["prompt_containment"].to_list() == [1.0, 0.0, 1.0]


def fused(text: str, prompt: str, inputs: str | None = None) -> tuple[float, str | None]:
    frame = pl.DataFrame({"text": [text], "prompt": [prompt], "inputs": pl.Series([inputs], dtype=pl.String)})
    return PromptLeak().score(frame).select("score", "kind").row(0)


FUSE = (
    "Merge the two texts below into one fluent description and keep verifiable facts. Text 1 holds encyclopedic knowledge "
    "with broken grammar, text 2 was written by a captioner and may invent things."
)
ALT = "Old town hall of Bamberg on its island in the river Regnitz"
CAPTION = "a building with a bridge over the water on a cloudy day"


@pytest.mark.parametrize(
    ("prompt", "inputs"),
    [
        (f"{FUSE} {ALT} {CAPTION}", f"{ALT}\n{CAPTION}"),
        (f"{FUSE}\nText 1: {ALT}\nText 2: {CAPTION}", None),
        (f"{FUSE}\nAlt-text:\n{ALT}\nCaption:\n{CAPTION}", None),
        (f'{FUSE} "{ALT}" and "{CAPTION}"', None),
        (f"<alt>{ALT}</alt><caption>{CAPTION}</caption> {FUSE}", None),
    ],
)
def test_what_was_put_into_a_prompt_is_no_leak_and_its_instruction_is(prompt: str, inputs: str | None) -> None:
    assert fused(f"{ALT}, {CAPTION}.", prompt, inputs) == (1.0, None)
    assert fused(f"The {ALT}, a view of encyclopedic knowledge.", prompt, inputs) == (0.0, "prompt_words")
    assert fused(f"{FUSE} {ALT}", prompt, inputs) == (0.0, "prompt_echo")


def test_words_that_instruction_and_inputs_share_are_no_leak() -> None:
    assert fused("A shelf of encyclopedic knowledge.", f"{FUSE} Books", "encyclopedic knowledge") == (1.0, None)


def test_two_words_of_a_prompt_without_inputs_are_no_leak() -> None:
    assert leak("A man with a facial expression", "Name clothing and facial expression of each person.") == (1.0, None)


@pytest.mark.parametrize(
    "text",
    [
        "Sure thing! Below is the description you asked for.\nA red bus waits.",
        "Absolutely! A red bus waits.",
        "Of course! I'd be happy to describe the image. A red bus waits.",
        "Okay, here is what I see in the picture: a bus.",
        "The following is a caption for the photo. A red bus waits.",
        "I've written a short caption for you: a red bus",
        "Great! Here's your alt text. A red bus.",
        "Happy to help! A red bus.",
        "Here you go:\nA red bus.",
        "Thank you for sharing the image. A red bus.",
        "Below you will find three short captions:\na red bus",
    ],
)
def test_how_an_assistant_opens_costs_most_of_the_score(text: str) -> None:
    assert leak(text) == (0.25, "prefix")


@pytest.mark.parametrize(
    "text",
    [
        "Thank you for your visit! says a card on a table",
        "here is the house where he was born",
        "this is a photo of a dog",
        "The following morning the town lies under snow.",
        "great hall of the castle",
        "a sure bet, of course",
        "This is a version of the painting in a museum",
    ],
)
def test_captions_that_begin_alike_are_clean(text: str) -> None:
    assert leak(text) == (1.0, None)


def test_short_prompts_cannot_be_judged() -> None:
    frame = pl.DataFrame({"text": ["a photo of a dog"], "prompt": ["a photo of"]})

    assert PromptLeak().score(frame).row(0) == (1.0, None, None, None)


def test_an_echo_past_the_limit_is_named_before_a_wrapper() -> None:
    frame = pl.DataFrame({"text": [f"Caption: {PROMPT}"], "prompt": [PROMPT]})

    assert PromptLeak().score(frame).row(0) == (0.0, "prompt_echo", None, 1.0)


def containment(text: str, prompt: str) -> float | None:
    """The definition, with sets."""

    def grams(words: list[str]) -> set[tuple[str, ...]]:
        return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}

    asked = grams(re.findall("[a-z]+", prompt))
    return len(asked & grams(re.findall("[a-z]+", text))) / len(asked) if asked else None


few_words = st.lists(st.sampled_from(["a", "b", "c"]), max_size=12).map(" ".join)


@settings(deadline=None)
@given(rows=st.lists(st.tuples(few_words, few_words), min_size=1, max_size=6))
def test_containment_is_that_of_the_definition(rows: list[tuple[str, str]]) -> None:
    frame = pl.DataFrame(rows, schema=["text", "prompt"], orient="row")

    found = PromptLeak().score(frame)["prompt_containment"].to_list()

    assert found == [None if share is None else pytest.approx(share) for share in (containment(*row) for row in rows)]
