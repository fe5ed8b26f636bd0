import json
from pathlib import Path

import polars as pl
import pytest

from filters import Artifacts

FUSE = "Merge the two sentences into one. Use real-world knowledge and a nice sentence structure."


def judge(text: str, **columns: str) -> tuple[float, str | None]:
    frame = pl.DataFrame({"text": [text], **{name: [value] for name, value in columns.items()}})
    score, kind, spans = Artifacts().score(frame).row(0)
    assert (spans is None) == (kind is None)
    return score, kind


@pytest.mark.parametrize(
    ("kind", "texts"),
    {
        "coordinates": [
            "A dog at [120, 44, 310, 280].",
            "A dog (0.12, 0.5) and a cat",
            "a dog bbox_2d: 12",
            "a dog <box>(12,30),(40,50)</box>",
            "The ball is at coordinates near the top.",
            "The ball is at [120, 44].",
            "A line from (12, 30) to (40, 50)",
        ],
        "thinking": [
            "Okay, let me describe the image.",
            "The user wants a caption of a dog.",
            "A dog. Wait, I should mention the cat.",
            "First, I will describe the dog.",
            "<thinking> a dog",
        ],
        "instruction": [
            "A dog. The image does not contain any imaginary content.",
            "A dog. All descriptions are based on the visible content.",
            "A dog, as requested.",
            "A dog. I hope this helps!",
            "A dog. (Note: the cat is left out)",
            "A dog in 20 words or less",
        ],
        "detection": [
            "The detected objects are a dog and a cat.",
            "A dog with a bounding box",
            "A dog with a confidence score of 0.9",
            "According to the alt-text, it is a dog.",
            "The alt text mentions a dog.",
        ],
        "overlay": [
            "A dog highlighted with a red box",
            "A red bounding box highlights a dog",
            "Region 3 is not this; the region 3 is",
        ],
        "fuse": [
            "A dog of great real-world knowledge.",
            "Sentence 1 shows a dog.",
            "A dog with nice sentence structure.",
        ],
    }.items(),
)
def test_traces_of_the_pipeline_score_0(kind: str, texts: list[str]) -> None:
    # "bounding box" is of a detector, whoever drew it.
    for text in texts:
        score, found = judge(text)
        assert (score, found) == (0.0, kind) or (kind == "overlay" and found == "detection" and score == 0.0), text


@pytest.mark.parametrize(
    ("kind", "texts"),
    {
        "fragment": [", a dog on a beach", "and runs on a beach. It is a dog."],
        "tags": ["long_hair, dog", "1girl, solo, beach", "<lora:dog"],
        "header": ["Step 1: a dog", "Final caption: a dog", "A dog.\nLighting: warm", "**Overall description:** a dog"],
    }.items(),
)
def test_a_tag_or_heading_costs_most_of_the_score(kind: str, texts: list[str]) -> None:
    for text in texts:
        assert judge(text) == (0.25, kind), text


@pytest.mark.parametrize(
    "text",
    [
        "A dog runs on the beach (2015, 2016).",
        "A red box stands next to a dog.",
        "A man is on step 2 of the stairs.",
        "a clock that says 10:15",
        "We need to talk about the dog",
        "A chart of a class in grammar: a good read",
        "style : a vest at last",
        'A sign says "as requested: step 1".',
        "A scoreboard showing [12, 14] hangs above the court.",
        "The display reads (20, 35) in red digits.",
        "a shirt with the numbers [10, 20, 30, 40] on its back",
        "two teams (21, 14) after the first half",
        "A book with the title “Real-world knowledge”",
        "this stunning arrangement is made to coordinate with a dress",
        "let me in, says the cat",
        "The kitchen is well-organized and clean.",
        "of all the dogs",
        "",
    ],
)
def test_ordinary_captions_are_clean(text: str) -> None:
    assert judge(text) == (1.0, None)


def test_the_worst_is_named_and_all_are_evidence() -> None:
    text = "Step 1: a dog at [1, 2, 3, 4]"
    score, kind, spans = Artifacts().score(pl.DataFrame({"text": [text]})).row(0)

    assert (score, kind) == (0.0, "coordinates")
    assert [(span["kind"], text[span["start"] : span["end"]]) for span in spans] == [
        ("header", "Step 1: "),
        ("coordinates", "[1, 2, 3, 4]"),
    ]


def test_words_of_a_fuse_prompt_count_unless_its_inputs_have_them() -> None:
    text = "A poster about real-world knowledge hangs on a wall."

    assert judge(text, inputs="a wall") == (0.0, "fuse")
    assert judge(text, inputs="Poster: Real-world Knowledge") == (1.0, None)


def test_two_words_of_any_fuse_prompt_count_unless_its_inputs_have_them() -> None:
    prompt = "Combine both texts with vivid encyclopedic flavour. Alt-text: golden retriever puppy. Caption: a dog"
    inputs = "golden retriever puppy\na dog"

    assert judge("A golden retriever puppy", prompt=prompt, inputs=inputs) == (1.0, None)
    assert judge("A dog of encyclopedic flavour", prompt=prompt, inputs=inputs) == (0.0, "fuse_prompt")
    assert judge("A dog of encyclopedic flavour", prompt=prompt) == (1.0, None)


def test_ordinary_words_of_a_fuse_prompt_do_not_count() -> None:
    prompt = "Describe what is in this image with many small words: a dog"

    assert judge("what is in this image", prompt=prompt, inputs="a dog") == (1.0, None)


def test_each_row_is_judged_by_its_own_prompt_and_inputs() -> None:
    frame = pl.DataFrame(
        {
            "text": ["vivid flavour", "vivid flavour", "vivid flavour"],
            "prompt": ["use vivid flavour: a dog", "say it: vivid flavour", "be brief: a dog"],
            "inputs": ["a dog", "vivid flavour", "a dog"],
        }
    )

    assert Artifacts().score(frame)["score"].to_list() == [0.0, 1.0, 1.0]


CASES = [
    json.loads(line) for line in (Path(__file__).parents[1] / "cases" / "reasoning.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:24])
def test_every_dialect_of_reasoning_is_found(case: dict[str, str]) -> None:
    assert judge(case["text"]) == (0.0, "thinking")


@pytest.mark.parametrize(
    "text", ["a sign <think big> on a wall", "an assistant final exam", "[thinker] by Rodin", "a <br> b"]
)
def test_other_brackets_are_no_reasoning(text: str) -> None:
    assert judge(text) == (1.0, None)
