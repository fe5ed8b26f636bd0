import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import Refusal
from filters.text.refusing import may_refuse, refuses


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
        "I cannot provide instructions on that.",
        "No, I won't share personal details of anybody.",
        "I would rather not speculate about the people shown.",
        "We can't, in good conscience, create or promote such material.",
        "It is not appropriate or respectful to guess a person's weight.",
        "I don't think it is ethical to judge somebody by a photo.",
        "I'm afraid I can't answer that.",
        "I have no ability to open attachments.",
        "My guidelines prevent me from naming anybody.",
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
        "she works as a virtual assistant in the city",
        "i can't recommend this cafe enough",
        "i can't describe how happy i am",
        "i cannot give you anything but love",
        "a sign says it is not safe to swim here",
        "it is not possible to see the face of the rider",
        "a dress i designed with my mother",
        "no pictures are hung on the wall",
        "my role model is my grandmother",
        "",
    ],
)
def test_captions_that_mention_sorrow_or_inability_score_1(text: str) -> None:
    assert refusal(text) == (1.0, 0, None)


def test_a_refusal_first_scores_0_whatever_follows() -> None:
    assert refusal("I cannot identify the people. A man and a woman sit on a bench in a park.")[0] == 0.0


def test_a_refusal_later_costs_its_share_of_the_text() -> None:
    score, sentences, span = refusal("A man on a bench. As an AI language model, I cannot identify him.")

    assert score == pytest.approx(16 / (16 + 46) / 2)
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


@pytest.mark.parametrize(
    "text",
    [
        "Es tut mir leid, aber ich kann die Person auf diesem Bild nicht identifizieren.",
        "Leider darf ich dazu keine Auskunft geben.",
        "Als KI-Sprachmodell habe ich keinen Zugriff auf Bilder.",
        "Ich bin nicht in der Lage, diese Anfrage zu bearbeiten.",
        "Je suis désolé, mais je ne peux pas vous aider.",
        "Je ne suis pas en mesure de décrire cette image.",
        "En tant que modèle de langage, je n'ai pas d'yeux.",
        "Il m’est impossible d'identifier les personnes sur cette photo.",
        "Lo siento, pero no puedo ayudar con eso.",
        "No me es posible proporcionar una descripción de esta imagen.",
        "Como modelo de lenguaje, no veo imágenes.",
        "Mi dispiace, ma non posso aiutarti.",
        "Non sono in grado di descrivere questa immagine.",
        "In quanto intelligenza artificiale, non vedo nulla.",
        "Desculpe, mas não posso ajudar com isso.",
        "Não consigo identificar a pessoa nesta imagem.",
        "Como uma IA, não tenho acesso a fotos.",
        "Het spijt me, maar ik kan deze persoon niet identificeren.",
        "Als taalmodel kan ik geen afbeeldingen bekijken.",
        "Извините, но я не могу помочь с этим.",
        "Я не могу описать это изображение.",
        "Как языковая модель, я не вижу картинок.",
        "很抱歉，我无法描述这张图片。",
        "我不能提供相关信息。",
        "作为一个人工智能语言模型，我看不到图片。",
        "抱歉，我無法協助您。",
        "申し訳ありませんが、その質問にはお答えできません。",
        "この画像の人物を特定することはできません。",
        "AI言語モデルとして、画像を見ることはできません。",
        "죄송하지만 이 요청은 도와드릴 수 없습니다.",
        "이 이미지를 설명할 수 없습니다.",
        "AI 언어 모델로서 저는 그림을 볼 수 없습니다.",
    ],
)
def test_refusals_in_other_languages_score_0(text: str) -> None:
    assert refusal(text)[0] == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "Ein Hund kann nicht über den Zaun springen und wartet.",
        "Ein Schild: „Ich kann dir nicht helfen“ steht neben der Tür.",
        "Un chat noir ne peut pas atteindre la balle sur la table.",
        "Je ne peux pas vivre sans toi, affiche de film.",
        "Un perro que no puede subir la escalera mira a su dueño.",
        "no puedo vivir sin ti, camiseta roja",
        "Un uomo che non può camminare siede in carrozzina.",
        "Uma menina não consegue alcançar a maçã na árvore.",
        "Een kat kan niet bij de bal en wacht.",
        "Собака не может перепрыгнуть через забор.",
        "一只狗无法跳过栅栏，正在等待。",
        "没有人的街道上停着一辆红色汽车。",
        "柵を越えることができない犬が待っている。",
        "看板に「申し訳ありませんが、入れません」と書かれている。",
        "울타리를 넘을 수 없는 개가 기다린다.",
    ],
)
def test_captions_in_other_languages_that_mention_inability_score_1(text: str) -> None:
    assert refusal(text)[0] == 1.0


def test_an_assistant_that_speaks_of_itself_is_a_defect_at_the_default_threshold() -> None:
    scene = "A red bus waits at a stop beside two people, and a tall building with many windows stands behind it. "

    for said in (
        "As an AI language model, I cannot judge its age.",
        "Note: As a large language model, I do not have access to the image you provided.",
        "As an AI visual assistant, I can tell you more about buses.",
        "I'm just an AI and can't feel the weather.",
    ):
        assert 0.0 < refusal(scene * 4 + said)[0] < 0.5


def test_thanks_and_understanding_before_a_refusal_belong_to_it() -> None:
    assert refusal("Thank you for your question. I cannot provide that information. A red bus waits.")[:2] == (0.0, 2)
    assert refusal("I understand that you are curious. I'm not able to identify people.")[:2] == (0.0, 2)


def test_a_judgement_of_the_request_is_a_refusal_only_where_it_opens() -> None:
    judgement = "Hurting an animal is never acceptable."

    assert refusal(f"{judgement} Please call a shelter.")[0] == 0.0
    assert refusal(f"A poster with a sad dog hangs in a shop. {judgement}")[0] == 1.0


@given(st.text(max_size=80))
def test_the_quick_look_misses_no_refusal(text: str) -> None:
    rows = pl.DataFrame({"text": [text, f"{text} i cannot provide this", f"{text} 我不能提供"]})
    found = rows.select(refuses=refuses(pl.col("text")), may=may_refuse(pl.col("text")))

    assert found.filter(pl.col("refuses") & ~pl.col("may")).is_empty()
