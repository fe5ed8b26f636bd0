import polars as pl
import pytest

from filters import Refusal


def refusal(text: str) -> tuple[float, int, str | None]:
    return Refusal().score(pl.DataFrame({"text": [text]})).row(0)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I’m sorry, I can’t help with identifying people.",
        "I cannot describe this image.",
        "Sorry, I am unable to view images.",
        "Unfortunately, I can not see the picture you uploaded.",
        "I'm not able to provide a description of the image as it contains explicit content.",
        "I am not comfortable describing people in this photo.",
        "I do not feel comfortable captioning this image.",
        "We are unable to identify the persons in this picture.",
        "I won't be able to help you with this request.",
        "I can't make assumptions about a person's identity.",
        "I don't have the ability to see images.",
        "I don't have enough context to describe the image.",
        "I apologize, but I cannot fulfill this request.",
        "I must respectfully decline this request.",
        "Unable to process the image.",
        "As an AI language model, I have no eyes.",
        "As an AI, I cannot look at pictures.",
        "I’m just an AI and see nothing.",
        "I’m truly sorry, but I can’t go on with this.",
        "This content goes against my guidelines.",
        "It is not appropriate for me to describe this.",
        "There is no image provided.",
        "I don't see any image here.",
        "The image you uploaded did not load.",
        "I'm sorry, but this image contains inappropriate content.",
    ],
)
def test_refusals_score_0(text: str) -> None:
    assert refusal(text) == (0.0, 1, text.rstrip("."))


@pytest.mark.parametrize(
    "text",
    [
        "A t-shirt that says \"I'm sorry, I can't help you with that\".",
        "a woman in a shirt that reads 'I'm sorry, but I can't assist you'",
        "a sign reading “I cannot assist you today” hangs on the door",
        "a mug that says ‘I’m sorry I can’t help you with that’.",
        "A shirt that says I'm sorry, but I can't hear you over my awesomeness",
        'A screen shows "As an AI language model, I cannot see the ima',
        "Sorry I'm late I didn't want to come t-shirt",
        "a sign saying sorry for the inconvenience",
        "i'm sorry card with flowers",
        "i'm sorry but i love you",
        "i can't help falling in love with you",
        "i can't see without my glasses",
        "I can't identify with this fashion",
        "keep calm and i can't keep calm",
        "we cannot wait to see the picture",
        "i refuse to grow up mug",
        "the man is unable to see the screen",
        "protesters march against the immigration policy",
        "no photos allowed in the museum",
        "please provide your own towel",
        "as an ai robot walks by, people stare",
        "",
    ],
)
def test_captions_that_mention_sorrow_or_inability_score_1(text: str) -> None:
    assert refusal(text) == (1.0, 0, None)


def test_a_refusal_first_scores_0_whatever_follows() -> None:
    assert refusal("I cannot identify the people. A man and a woman sit on a bench in a park.")[0] == 0.0


def test_a_refusal_later_costs_its_share_of_the_text() -> None:
    score, sentences, span = refusal("A man on a bench. As an AI language model, I cannot identify him.")

    assert score == pytest.approx(16 / (16 + 46))
    assert sentences == 1
    assert span == "As an AI language model, I cannot identify him"


def test_a_refusal_after_a_sentence_about_text_is_one() -> None:
    assert refusal("The sign has text. As an AI language model, I cannot read it.")[1] == 1


def test_sentences_beside_a_refusal_count_with_it() -> None:
    text = "A man on a bench. I cannot identify the person. Please upload another picture. Let me know."

    assert refusal(text)[:2] == (pytest.approx(16 / (16 + 28 + 29 + 11)), 3)


def test_such_sentences_alone_are_no_refusal() -> None:
    assert refusal("Let me know when the bus comes. Feel free to sit.")[0] == 1.0


def test_an_apology_before_a_refusal_belongs_to_it() -> None:
    assert refusal("I'm sorry. I cannot describe this image.")[:2] == (0.0, 2)


def test_a_refusal_wholly_in_quotation_marks_is_one() -> None:
    assert refusal("\"I'm sorry, but I can't assist with that.\"")[0] == 0.0
    assert refusal("“I’m sorry, but I can’t assist with that.”")[0] == 0.0
