import math
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from filters import FilterError, Toxicity


def score(toxicity: Toxicity, *texts: str | None) -> pl.DataFrame:
    return toxicity.score(pl.DataFrame({"text": list(texts)}, schema={"text": pl.String}))


def probabilities(folder: str, text: str) -> dict[str, float]:
    """What transformers itself says."""
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
    return {model.config.id2label[at]: 1 / (1 + math.exp(-logit)) for at, logit in enumerate(logits.tolist())}


def test_the_score_is_one_less_the_largest_toxic_probability(models: dict[str, str]) -> None:
    known = probabilities(models["toxicity"], "a stupid ugly man .")

    found, label, unjudged = score(Toxicity(model=models["toxicity"]), "a stupid ugly man .").row(0)

    assert found == pytest.approx(1 - max(known["toxic"], known["insult"]), abs=1e-4)
    assert label == max(("toxic", "insult"), key=lambda name: known[name])
    assert unjudged is False


def test_labels_can_be_named(models: dict[str, str]) -> None:
    known = probabilities(models["toxicity"], "a dog")["neutral"]

    assert score(Toxicity(model=models["toxicity"], labels=("neutral",)), "a dog")["score"].item() == pytest.approx(
        1 - known, abs=1e-4
    )


def test_a_label_that_the_model_does_not_have_is_named(models: dict[str, str]) -> None:
    with pytest.raises(FilterError, match=r"toxicity\.labels: .*'toxic', 'insult', 'neutral'; 'rude' is none of them"):
        score(Toxicity(model=models["toxicity"], labels=("rude",)), "a dog")


def test_text_beyond_the_models_limit_is_judged_in_parts(models: dict[str, str]) -> None:
    # The model takes 32 tokens with its marks: 30 words a part.
    toxicity = Toxicity(model=models["toxicity"])
    first, second = "a dog runs . " * 7 + "a dog", "stupid ugly man " * 10

    parts = score(toxicity, first, second)["score"]

    assert score(toxicity, f"{first} {second}")["score"].item() == parts.min()


def test_what_is_past_the_most_tokens_is_not_judged_and_said_so(models: dict[str, str]) -> None:
    toxicity = Toxicity(model=models["toxicity"], max_tokens=32)

    assert score(toxicity, "a dog . " * 9, "a dog . " * 10 + "a", "x" * 300)["unjudged"].to_list() == [
        False,
        True,
        True,
    ]


def test_a_larger_batch_gives_the_same_scores(models: dict[str, str]) -> None:
    texts = ["a dog", "a stupid man on a beach . " * 8, None, "ugly", "a dog runs ."]

    one, many = (score(Toxicity(model=models["toxicity"], batch_size=size), *texts) for size in (1, 4))

    assert many["score"].to_list() == [
        None if s is None else pytest.approx(s, abs=2e-4) for s in one["score"].to_list()
    ]
    assert many["label"].to_list() == one["label"].to_list()


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')

    with pytest.raises(FilterError, match="cannot be loaded as a text classifier"):
        score(Toxicity(model=str(tmp_path)), "a dog")


def test_weights_in_a_pickle_are_refused(models: dict[str, str], tmp_path: Path) -> None:
    for file in Path(models["toxicity"]).iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    model = AutoModelForSequenceClassification.from_pretrained(models["toxicity"])
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")

    with pytest.raises(FilterError, match="cannot be loaded"):
        score(Toxicity(model=str(tmp_path)), "a dog")


def test_captions_without_text_need_no_model() -> None:
    assert score(Toxicity(model="nowhere"), None).row(0) == (None, None, None)


def test_its_model_is_identified_by_its_bytes(models: dict[str, str], tmp_path: Path) -> None:
    digest = Toxicity(model=models["toxicity"]).models()["model"]

    for file in Path(models["toxicity"]).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert Toxicity(model=str(tmp_path)).models()["model"] == digest
    (tmp_path / "config.json").write_text((tmp_path / "config.json").read_text() + " ")
    assert Toxicity(model=str(tmp_path)).models()["model"] != digest
