import math
import random
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, SiglipConfig, SiglipModel
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from factory.demo.encoder import load_encoder
from factory.demo.language import falsified, scene_claims, sentence
from factory.demo.measure import auroc
from factory.demo.scenes import draw_scene, scene_image
from filters import Alignment, FilterError, build
from filters.images import dual_encoder
from tests.pictures import encoded, picture

PICTURE = encoded(picture(), "PNG")


def scored(alignment: Alignment, *captions: tuple[str | None, bytes | None]) -> pl.DataFrame:
    return alignment.score(pl.DataFrame(captions, {"text": pl.String, "image": pl.Binary}, orient="row"))


@pytest.fixture(scope="session")
def align(models: dict[str, str]) -> str:
    return models["alignment"]


@pytest.fixture(scope="session")
def siglip(tmp_path_factory: pytest.TempPathFactory, align: str) -> str:
    """A SigLIP of one layer a tower with random weights, and the demo world's tokenizer."""
    folder = tmp_path_factory.mktemp("siglip")
    tower = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    tokenizer = AutoTokenizer.from_pretrained(align)
    tokenizer.model_max_length = 24
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    text = {**tower, "vocab_size": len(tokenizer), "max_position_embeddings": 24, "projection_size": 32}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config={**tower, "image_size": 32, "patch_size": 8}))
    model.logit_scale.data.fill_(math.log(10))
    model.logit_bias.data.fill_(-2)
    model.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def test_true_sentences_are_told_from_ones_with_an_attribute_swapped_and_by_the_image_alone(align: str) -> None:
    rng = random.Random(5)
    rows: list[tuple[str, bytes, bytes, bool]] = []
    images = [scene_image(draw_scene(11, index, "heldout")) for index in range(151)]
    for index in range(150):
        scene = draw_scene(11, index, "heldout")
        for claim in scene_claims(scene):
            changed = falsified([claim], scene, rng)
            if changed is not None:
                rows.append((sentence(claim), images[index], images[index + 1], True))
                rows.append((sentence(changed[0][0]), images[index], images[index + 1], False))
    true = [row[3] for row in rows]

    matched = scored(Alignment(model=align), *((text, image) for text, image, _, _ in rows))["score"].to_list()
    shuffled = scored(Alignment(model=align), *((text, other) for text, _, other, _ in rows))["score"].to_list()

    assert auroc(matched, true) >= 0.9
    assert auroc(shuffled, true) == pytest.approx(0.5, abs=0.05)


def test_cosines_are_those_of_transformers(align: str) -> None:
    model, processor = load_encoder(Path(align))
    inputs = processor(text=["A dog runs."], images=Image.open(BytesIO(PICTURE)).convert("RGB"), return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    expected = (outputs.text_embeds @ outputs.image_embeds.T).item()

    found = scored(Alignment(model=align, low=-1, high=1), ("A dog runs.", PICTURE))

    assert found["cosine_min"].item() == pytest.approx(expected, abs=2e-4)
    assert found["score"].item() == pytest.approx((expected + 1) / 2, abs=2e-4)


def test_siglips_score_is_its_own_probability(siglip: str) -> None:
    model, tokenizer = SiglipModel.from_pretrained(siglip), AutoTokenizer.from_pretrained(siglip)
    pixels = SiglipImageProcessorPil.from_pretrained(siglip)(
        Image.open(BytesIO(PICTURE)).convert("RGB"), return_tensors="pt"
    )
    ids = tokenizer(["A dog runs."], padding="max_length", max_length=24, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = model(input_ids=ids, **pixels).logits_per_image.sigmoid().item()

    assert scored(Alignment(model=siglip), ("A dog runs.", PICTURE))["score"].item() == pytest.approx(
        expected, abs=1e-3
    )


def test_a_caption_is_as_good_as_its_worst_sentence_or_as_their_mean(align: str) -> None:
    first, second = "A red circle is at the top.", "There are two shapes."
    one, two, both = scored(Alignment(model=align), *((text, PICTURE) for text in (first, second, f"{first} {second}"))).rows(named=True)  # fmt: skip
    mean = scored(Alignment(model=align, aggregate="mean", low=-1, high=1), (f"{first} {second}", PICTURE)).row(
        0, named=True
    )

    lowest = scored(Alignment(model=align, low=-1, high=1), (f"{first} {second}", PICTURE)).row(0, named=True)

    assert lowest["score"] == pytest.approx((lowest["cosine_min"] + 1) / 2, abs=2e-4)
    assert both["cosine_min"] == min(one["cosine_min"], two["cosine_min"])
    assert both["cosine_mean"] == pytest.approx((one["cosine_min"] + two["cosine_min"]) / 2, abs=2e-4)
    assert both["worst"] == (first if one["cosine_min"] < two["cosine_min"] else second)
    assert both["pieces"] == 2
    assert mean["score"] == pytest.approx((mean["cosine_mean"] + 1) / 2, abs=2e-4)


def test_nothing_of_a_long_sentence_is_cut(align: str) -> None:
    long = "There is a small red circle at the top, " * 12 + "and a dog"
    ends = scored(Alignment(model=align), (f"{long}.", PICTURE), (f"{long} zzzzz zzzz.", PICTURE)).rows(named=True)

    assert ends[0]["overlong"] == 1.0
    assert ends[0]["pieces"] > 2
    assert ends[0]["unjudged"] is False
    assert ends[0]["cosine_mean"] != ends[1]["cosine_mean"]  # its last words count


def test_what_is_beyond_the_most_pieces_is_said_to_be_unjudged(align: str) -> None:
    alignment = Alignment(model=align, max_pieces=3)

    found = scored(alignment, ("A dog. " * 3, PICTURE), ("A dog. " * 4, PICTURE), ("x" * 10_000, PICTURE))

    assert found["unjudged"].to_list() == [False, True, True]
    assert found["pieces"].to_list() == [3, 3, 3]


def test_at_the_level_of_nouns_each_phrase_is_compared(align: str) -> None:
    found = scored(
        Alignment(model=align, level="noun"), ("A red circle and a dog are at the top.", PICTURE), ("It is.", PICTURE)
    )

    assert found["pieces"].to_list() == [2, 1]
    assert found["worst"][0] in ("a red circle", "a dog")
    assert found["worst"][1] == "It is."


def test_captions_without_words_and_rows_without_image_have_no_score(align: str) -> None:
    found = scored(Alignment(model=align), ("...", PICTURE), (None, PICTURE), ("A dog.", None), ("A dog.", b"none"))

    assert found["score"].to_list() == [None] * 4
    assert found["reason"].to_list() == [None, None, None, "unknown_format"]


def test_each_image_and_each_text_is_encoded_once(align: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    decode = dual_encoder.decode
    monkeypatch.setattr(dual_encoder, "decode", lambda data, side: (decoded.append(data), decode(data, side))[1])
    other = encoded(picture(50, 50), "PNG")

    found = scored(Alignment(model=align), *((f"A dog. {n}.", (PICTURE, other)[n % 2]) for n in range(6)))

    assert len(decoded) == 2
    assert found["score"].null_count() == 0


def test_scores_do_not_depend_on_the_batch_size(align: str) -> None:
    rows = [(f"A dog sees {number} cats.", scene_image(draw_scene(0, number))) for number in range(7)]

    one, three = (scored(Alignment(model=align, batch_size=size), *rows)["cosine_min"] for size in (1, 3))

    assert (one - three).abs().max() <= 1e-3


def test_parameters_that_make_no_sense_are_refused(align: str, models: dict[str, str]) -> None:
    with pytest.raises(FilterError, match=r"low \(0\.5\) must be below high \(0\.4\)"):
        build("alignment", {"model": align, "low": 0.5})
    with pytest.raises(FilterError, match=r"alignment\.model is required: Directory of a transformers dual encoder"):
        build("alignment", {})
    with pytest.raises(FilterError, match=r"alignment\.revision: 'openai/clip' is on the Hub: pin it"):
        scored(Alignment(model="openai/clip"), ("A dog.", PICTURE))
    with pytest.raises(FilterError, match="'missing' is no directory, and no Hub id"):
        scored(Alignment(model="missing"), ("A dog.", PICTURE))
    with pytest.raises(FilterError, match="is a ViTModel, which has no text and image features"):
        scored(Alignment(model=models["nsfw"]), ("A dog.", PICTURE))
    if not torch.cuda.is_available():
        with pytest.raises(FilterError, match=r"alignment\.device: 'cuda:1' is not there"):
            scored(Alignment(model=align, device="cuda:1"), ("A dog.", PICTURE))
