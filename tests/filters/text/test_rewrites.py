import json
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import Opener, Pii, Refusal
from filters.text.rewrites import (
    REWRITES,
    cut_refusal,
    mask_pii,
    repair_mojibake,
    strip_opener,
    strip_reasoning,
    trim_cut_sentence,
    unescape_html,
)


def one(rewrite: object, text: str | None) -> str | None:
    return rewrite(pl.Series([text], dtype=pl.String)).item()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("The image shows a dog on a beach.", "A dog on a beach."),
        ("In this image, we can see a dog on a beach.", "A dog on a beach."),
        ("In the photo, two dogs are running. They are wet.", "Two dogs are running. They are wet."),
        ("the image shows a dog on a beach", "a dog on a beach"),
        ("This is a picture of an iPhone on a table.", "An iPhone on a table."),
        ("The image shows iPhones on a table.", "iPhones on a table."),
        ("The image shows écrans on a table.", "Écrans on a table."),
        ('The image features "quoted" words here.', '"Quoted" words here.'),
        ("The image shows 3 dogs running.", "3 dogs running."),
        ("The image is a photo of a dog.", "A dog."),
    ],
)
def test_an_opener_is_stripped_and_the_rest_begins_as_a_sentence(text: str, stripped: str) -> None:
    assert one(strip_opener, text) == (stripped if len(stripped.split()) > 2 else None)


@pytest.mark.parametrize(
    "text",
    [
        "A dog on a beach.",
        "The image shows how a dog runs.",
        "The image shows a dog.",
        "The image shows.",
        "In this photo illustration a phone is seen.",
        "A dog. The image shows a cat on a mat.",
        '"The image shows a dog on a beach."',
        "",
        None,
    ],
)
def test_a_text_that_could_not_stand_without_its_opener_is_left(text: str | None) -> None:
    assert one(strip_opener, text) is None


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("A man on a bench. As an AI language model, I cannot identify him.", "A man on a bench."),
        (
            "A man sits. I'm sorry, but I can't identify the person. He wears a hat.",
            "A man sits. He wears a hat.",
        ),
        (
            "I cannot identify the people. A man and a woman sit on a bench, 3.5 m long.",
            "A man and a woman sit on a bench, 3.5 m long.",
        ),
        (
            "A man on a bench! I cannot identify the person in the image. Please upload another picture.",
            "A man on a bench!",
        ),
        (
            'A sign says "Stop. I am sorry." near a man. I am unable to describe the image.',
            'A sign says "Stop. I am sorry." near a man.',
        ),
    ],
)
def test_an_embedded_refusal_is_cut_and_the_rest_stays_as_it_was(text: str, cut: str) -> None:
    assert one(cut_refusal, text) == cut


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "Dogs. I cannot describe this image.",
        "A t-shirt that says \"I'm sorry, I can't help you with that\".",
        "A shirt that says I'm sorry, but I can't hear you over my awesomeness",
        "A sign that reads “I cannot assist you today.” hangs on the door.",
        "A dog on a beach.",
        "",
        None,
    ],
)
def test_what_is_no_embedded_refusal_is_left(text: str | None) -> None:
    assert one(cut_refusal, text) is None


@settings(deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(
            [
                "A man sits on a bench.",
                "I cannot describe the image.",
                'A mug says "I can\'t help you. Sorry."',
                "It is red!",
            ]
        ),
        max_size=5,
    )
)
def test_nothing_that_was_cut_refuses_still(parts: list[str]) -> None:
    texts = pl.Series([" ".join(parts)])

    cut = cut_refusal(texts).drop_nulls()

    assert (Refusal().score(pl.DataFrame({"text": cut}))["sentences"] == 0).all()
    assert cut.to_list() == [" ".join(part for part in parts if "describe" not in part)] * len(cut)


@pytest.mark.parametrize(
    ("text", "trimmed"),
    [
        ("A dog runs here. It is a", "A dog runs here."),
        ("A dog runs here! Next to Mr. Smith, a", "A dog runs here!"),
        ('A sign says "Stop here." The man next to', 'A sign says "Stop here."'),
        ("A dog 3.5 m long. It is 2.", "A dog 3.5 m long."),
        ("砂浜に犬がいます。その隣に", "砂浜に犬がいます。"),
        (" A dog runs here.\nIt is", "A dog runs here."),
    ],
)
def test_a_cut_last_sentence_is_trimmed(text: str, trimmed: str) -> None:
    assert one(trim_cut_sentence, text) == trimmed


@pytest.mark.parametrize(
    "text", ["A dog runs here.", "A dog runs here. \n", "A dog on a", "Oh no. It is", "A dog ... runs to a", "", None]
)
def test_a_text_without_a_cut_sentence_after_a_whole_one_is_left(text: str | None) -> None:
    assert one(trim_cut_sentence, text) is None


def test_personal_data_is_masked_in_place() -> None:
    text = "🐕 write to jane@example.org or call 850-244-5117 now"

    masked = one(mask_pii, text)

    assert masked == "🐕 write to [email] or [phone] now"
    assert Pii().score(pl.DataFrame({"text": [masked]}))["score"].item() == 1.0
    assert one(mask_pii, "a dog on a beach") is None


def test_a_stripped_caption_has_no_opener_at_its_start() -> None:
    texts = pl.Series(["The image shows a dog on a beach. The picture features a cat."])

    assert Opener().score(pl.DataFrame({"text": strip_opener(texts)}))["opener"].item() is None


@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_rows_keep_their_number_order_and_name_and_the_texts_stay(rewrite: object) -> None:
    odd = [
        None,
        "",
        "\x00",
        "🐕",
        "The image shows a dog &amp; a cat in a cafÃ©. I cannot describe the image. Mail a@b.org <think>or",
        "x" * 1_000_000,
    ]
    texts = pl.Series("caption", odd * 2)

    new = rewrite(texts)  # type: ignore[operator]

    assert new.name == "caption"
    assert new.dtype == pl.String
    assert [text is not None for text in new] == [False, False, False, False, True, False] * 2
    assert texts.to_list() == odd * 2
    assert rewrite(texts[:0]).is_empty()  # type: ignore[operator]


REASONING = [
    json.loads(line) for line in (Path(__file__).parents[1] / "cases" / "reasoning.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize("case", REASONING, ids=lambda case: case["text"][:24])
def test_reasoning_is_stripped_in_every_dialect(case: dict[str, str | None]) -> None:
    assert one(strip_reasoning, case["text"]) == case["right"]


def test_a_caption_without_marks_of_reasoning_is_left() -> None:
    assert one(strip_reasoning, "A sign says think big, a bus waits.") is None


def test_hostile_marks_cost_time_linear_in_the_text() -> None:
    started = time.perf_counter()
    for text in ("<think>" * 100_000, "</think><" * 100_000, "<" * 1_000_000, "<answer>" * 100_000 + "</think>"):
        strip_reasoning(pl.Series([text]))

    assert time.perf_counter() - started < 20


def test_html_entities_become_the_characters_that_they_mean() -> None:
    texts = pl.Series(["Tom &amp;amp; Jerry", "a caf&eacute; &#39;open&#x27;", "AT&T; R&D", "a dog", None])

    assert unescape_html(texts).to_list() == ["Tom & Jerry", "a café 'open'", None, None, None]


def test_text_read_in_a_wrong_encoding_becomes_what_it_was() -> None:
    texts = pl.Series(
        ["cafÃ© crÃ¨me", "donâ€™t look", "ÐœÑƒÐ¶Ñ‡Ð¸Ð½Ð° Ð² Ñ€ÑƒÐ±Ð°ÑˆÐºÐµ", "un café", "a dog", "", None]
    )
    assert repair_mojibake(texts).to_list() == ["café crème", "don’t look", "Мужчина в рубашке", None, None, None, None]
