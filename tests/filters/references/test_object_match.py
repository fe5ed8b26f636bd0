import numpy as np
import pytest

from filters.models.fasttext_model import import_fasttext
from filters.models.word_vectors import word_vectors
from filters.references.chair import chair, chair_rates
from filters.references.object_match import SAME_HEAD, SPELLING, ByVectors, lexical, match_objects
from filters.wording.object_words import NamedObject, objects_of, vocabulary

KNOWN = vocabulary()


def named(text: str) -> list[NamedObject]:
    return objects_of(text, KNOWN)


def test_chair_counts_mentions_captions_and_objects() -> None:
    captions = [
        chair(["dog", "dog", "cat"], ["dog", "car"]),
        chair(["person"], ["person"]),
        chair([], ["cup", "person"]),
    ]

    rates = chair_rates(captions)

    assert captions[0].hallucinated == ("cat",)
    assert rates.chair_s == pytest.approx(1 / 3)
    assert rates.chair_i == pytest.approx(1 / 4)  # of dog, dog, cat, person
    assert rates.recall == pytest.approx(2 / 5)


def test_chair_of_nothing_is_no_number() -> None:
    assert chair_rates([]).chair_s is None
    assert chair_rates([chair([], [])]).chair_i is None
    assert chair_rates([chair([], [])]).recall is None


def test_each_object_is_matched_once_so_that_the_sum_is_the_most() -> None:
    found = match_objects(named("a bathroom faucet and a kitchen faucet"), named("a kitchen faucet"), lexical)

    assert [(one.name, one.reference, one.similarity) for one in found.matches] == [
        ("bathroom faucet", None, 0.0),
        ("kitchen faucet", "kitchen faucet", 1.0),
    ]
    assert found.score == 0.0


def test_synonyms_are_the_same_one_head_is_alike_and_letters_count_little() -> None:
    found = match_objects(named("a sofa, a street lamp and a cat"), named("a couch, a desk lamp and a cart"), lexical)

    sofa, lamp, cat = found.matches
    assert (sofa.reference, sofa.similarity) == ("couch", 1.0)
    assert (lamp.reference, lamp.similarity) == ("desk lamp", SAME_HEAD)
    assert 0 < cat.similarity < SPELLING
    assert found.score == cat.similarity


def test_words_of_one_kind_are_one_object() -> None:
    found = match_objects(named("a man and a woman, both people"), named("two people"), lexical)

    assert [(one.name, one.similarity) for one in found.matches] == [("man", 1.0)]


def test_a_caption_without_objects_has_no_score_and_one_without_references_the_least() -> None:
    assert match_objects([], named("a dog"), lexical).score is None
    assert match_objects(named("a dog"), [], lexical).score == 0.0


def test_vectors_compare_by_cosine_and_never_below_zero() -> None:
    known = {"lamp": [1.0, 0.0], "bulb": [1.0, 1.0], "rug": [-1.0, 0.0], "nothing": [0.0, 0.0]}
    similarity = ByVectors(lambda texts: np.array([known[text] for text in texts]))

    table = similarity(named("a lamp"), named("a bulb and a rug and a lamp"))

    assert table[0].tolist() == pytest.approx([2**-0.5, 0.0, 1.0])


def test_a_fasttext_model_and_a_transformers_encoder_give_vectors(models: dict[str, str], tmp_path) -> None:  # type: ignore[no-untyped-def]
    lines = tmp_path / "lines.txt"
    lines.write_text("a dog runs on the beach\na cat sits on the sofa\n" * 50)
    file = str(tmp_path / "vectors.bin")
    options = {"dim": 6, "minCount": 1, "bucket": 500, "thread": 1, "verbose": 0, "epoch": 1}
    import_fasttext("the tests").train_unsupervised(str(lines), model="skipgram", **options).save_model(file)

    by_words = word_vectors(file, None, "here")(["dog", "tennis racket"])
    by_encoder = word_vectors(models["toxicity"], None, "here")(["dog", "a dog", "dog"])

    assert by_words.shape == (2, 6)
    assert by_encoder.shape == (3, 16)
    assert by_encoder[0].tolist() == by_encoder[2].tolist()
