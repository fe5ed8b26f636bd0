import math
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from filters import FilterError, Nsfw, Watermark, build
from tests.filters.conftest import image_classifier
from tests.pictures import encoded, picture

IMAGE = encoded(picture(), "PNG")


def scored(caption_filter: Nsfw | Watermark, *images: bytes | None) -> pl.DataFrame:
    return caption_filter.score(pl.DataFrame({"image": images}, schema={"image": pl.Binary}))


def logits(folder: str) -> list[float]:
    """What transformers itself says of IMAGE."""
    model = AutoModelForImageClassification.from_pretrained(folder)
    pixels = AutoImageProcessor.from_pretrained(folder, backend="pil")(
        Image.open(BytesIO(IMAGE)).convert("RGB"), return_tensors="pt"
    )
    with torch.no_grad():
        return model(**pixels).logits[0].tolist()


def test_the_score_is_one_less_the_probability_of_the_unwanted_label(models: dict[str, str]) -> None:
    normal, nsfw = (math.exp(value) for value in logits(models["nsfw"]))

    assert scored(Nsfw(model=models["nsfw"]), IMAGE, None, b"a dog").rows() == [
        (pytest.approx(normal / (normal + nsfw), abs=1e-4), "nsfw", None),
        (None, None, None),
        (None, None, "unknown_format"),
    ]


def test_labels_that_exclude_each_other_add_up(tmp_path: Path) -> None:
    folder = image_classifier(tmp_path / "three", ("neutral", "porn", "gore"))
    chances = torch.tensor(logits(folder)).softmax(-1).tolist()

    assert scored(Nsfw(model=folder), IMAGE)["score"].item() == pytest.approx(chances[0], abs=1e-4)
    assert scored(Nsfw(model=folder, labels=("gore",)), IMAGE)["score"].item() == pytest.approx(
        1 - chances[2], abs=1e-4
    )


def test_of_independent_labels_the_likeliest_counts(tmp_path: Path) -> None:
    folder = image_classifier(tmp_path / "two", ("nudity", "gore"), problem_type="multi_label_classification")
    chances = torch.tensor(logits(folder)).sigmoid().tolist()

    found = scored(Nsfw(model=folder), IMAGE)

    assert found["score"].item() == pytest.approx(1 - max(chances), abs=1e-4)
    assert found["label"].item() == ("nudity", "gore")[chances.index(max(chances))]


def test_a_model_is_required_and_the_error_says_what_to_give() -> None:
    for name in ("nsfw", "watermark"):
        with pytest.raises(
            FilterError, match=rf"{name}\.model is required: Directory of a transformers image classifier"
        ):
            build(name, {})


def test_a_hub_id_must_be_pinned_to_a_commit() -> None:
    for revision in (None, "main", "abc1234"):
        with pytest.raises(FilterError, match=r"nsfw\.revision: 'owner/model' is on the Hub: pin it"):
            scored(Nsfw(model="owner/model", revision=revision), IMAGE)
        with pytest.raises(FilterError, match="pin it"):
            Nsfw(model="owner/model", revision=revision).models()
    assert Nsfw(model="owner/model", revision="0" * 40).models() == {"model": f"owner/model@{'0' * 40}"}


def test_a_directory_is_known_by_its_content(models: dict[str, str], tmp_path: Path) -> None:
    other = image_classifier(tmp_path / "other", ("normal", "nsfw"))
    different = image_classifier(tmp_path / "different", ("normal", "nsfw", "gore"))

    assert Nsfw(model=other).models() == Nsfw(model=models["nsfw"]).models()
    assert Nsfw(model=different).models() != Nsfw(model=other).models()


def test_weights_that_can_run_code_are_refused(models: dict[str, str], tmp_path: Path) -> None:
    folder = Path(image_classifier(tmp_path / "pickled", ("normal", "nsfw")))
    model = AutoModelForImageClassification.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()

    with pytest.raises(
        FilterError, match=r"holds no checkpoint: a config.json and weights as \.safetensors are needed"
    ):
        scored(Nsfw(model=str(folder)), IMAGE)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    folder = Path(image_classifier(tmp_path / "code", ("normal", "nsfw")))
    config = (folder / "config.json").read_text()
    names = '{"auto_map": {"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Model"},'
    (folder / "config.json").write_text(
        config.replace("{", names, 1).replace('"model_type": "vit"', '"model_type": "evil"')
    )
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")

    with pytest.raises(FilterError, match="cannot be loaded as an image classifier"):
        scored(Nsfw(model=str(folder)), IMAGE)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("labels", [("LABEL_0", "LABEL_1"), ("normal", "safe")])
def test_labels_that_do_not_say_what_is_unwanted_must_be_named(tmp_path: Path, labels: tuple[str, ...]) -> None:
    folder = image_classifier(tmp_path / "unnamed", labels)

    with pytest.raises(FilterError, match=r"nsfw\.labels: name the unwanted labels"):
        scored(Nsfw(model=folder), IMAGE)
    assert scored(Nsfw(model=folder, labels=(labels[1],)), IMAGE)["label"].item() == labels[1]


def test_a_label_that_the_model_does_not_have_is_named(models: dict[str, str]) -> None:
    with pytest.raises(FilterError, match="'clean', 'watermark'; 'logo' is none of them"):
        scored(Watermark(model=models["watermark"], labels=("logo",)), IMAGE)
