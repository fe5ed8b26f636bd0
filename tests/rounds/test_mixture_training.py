"""Training on a mixture: its rows, its batches, and a checkpoint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exports.mixture import Mixed, mix, parse_mixture
from exports.mixture.mixing import COLUMNS
from factory.demo.checkpoint import checkpoint_path
from factory.errors import TrainingError
from factory.rounds.checkpoint_check import first_row
from factory.rounds.training import train
from factory.rounds.training_rows import Rows, choose_rows, mixture_rows
from factory.rounds.training_settings import Training
from tests.releases import build, noise, rows

pytest.importorskip("trl", reason="needs the extra: pip install 'caption-factory[train]'")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    """20 captions, 10 pages of two images, 60 texts."""
    home = tmp_path_factory.mktemp("mixture")
    birds = str(build(home / "birds", content=rows(20)).folder)
    (home / "real.txt").write_text("".join(f"line {number} <image> of text\n" for number in range(60)))
    parts = {
        "captions": {"release": birds, "share": 1},
        "pages": {"release": birds, "together": 2, "share": 1},
        "text": {"text": str(home / "real.txt"), "share": 1},
    }
    return mix(parse_mixture({"name": "m", "image_tokens": 10, "buffer": 4, "parts": parts}), home / "mixed")


def settings(**changes: Any) -> Training:
    return Training.model_validate(
        {"steps": 2, "batch": 4, "lr": 1e-3, "validation": 0.1, "dtype": "float32", "train": ["language"]} | changes
    )


def chosen(mixture: Mixed, held_out: frozenset[str] = frozenset(), **changes: Any) -> Rows:
    asked = settings(**changes)
    return choose_rows([mixture_rows(mixture, asked)], asked, held_out)


def test_a_mixture_is_learned_in_its_own_order(mixture: Mixed) -> None:
    found = chosen(mixture, validation=0, steps=3)
    assert found.order.tolist() == list(range(12))
    assert found.columns == COLUMNS


def test_a_held_out_image_is_learned_in_no_row_that_shows_it(mixture: Mixed) -> None:
    import pyarrow.parquet as pq

    out = hashlib.sha256(noise(3)).hexdigest()
    found = chosen(mixture, frozenset({out}), steps=None, epochs=1, validation=0.2, batch=1)
    table = pq.read_table(mixture.data_files()[0]).to_pylist()
    shown = {
        place
        for place, row in enumerate(table)
        if out in {hashlib.sha256(image["bytes"]).hexdigest() for image in row["images"]}
    }
    assert shown
    assert not shown & ({*found.order.tolist()} | {*found.validation.tolist()})
    assert found.counts["held_out"] == len(shown)


def test_a_caption_of_a_held_out_image_is_not_learned_without_it_either(tmp_path: Path) -> None:
    birds = str(build(tmp_path / "birds", content=rows(20)).folder)
    part = {"release": birds, "images": False, "longest": 2, "share": 1}
    made = mix(parse_mixture({"name": "m", "parts": {"dreams": part}}), tmp_path / "mixed")
    out = hashlib.sha256(noise(3)).hexdigest()
    found = chosen(made, frozenset({out}), steps=None, epochs=1, validation=0.2, batch=1)
    assert found.counts["held_out"] == 2  # pieces of one caption
    assert len({*found.order.tolist(), *found.validation.tolist()}) == made.rows - 2


def test_settings_of_a_release_alone_are_refused(mixture: Mixed) -> None:
    with pytest.raises(TrainingError, match="learned whole, by sft; remove view"):
        chosen(mixture, view="self")
    with pytest.raises(TrainingError, match="remove method: dpo"):
        chosen(mixture, method="dpo")


def test_a_mixture_and_a_release_are_not_learned_beside_each_other(mixture: Mixed, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is a mixture already"):
        train(mixture.to, tmp_path / "one", settings(), mix={mixture.to + "x": 1.0})


def test_the_canary_s_row_is_a_caption(mixture: Mixed) -> None:
    row = first_row(tuple(mixture.data_files()), COLUMNS)
    assert row["images"][0]["bytes"]
    assert [row["prompt"][0]["role"], row["completion"][0]["role"]] == ["user", "assistant"]


def test_a_batch_holds_captions_documents_and_texts_with_the_loss_on_their_words_alone() -> None:
    from PIL import Image
    from transformers import AutoProcessor
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    from factory.rounds.mixture_batches import mixture_batches

    processor = AutoProcessor.from_pretrained(checkpoint_path("base"))
    inner = DataCollatorForVisionLanguageModeling(processor, max_length=None, completion_only_loss=True)
    picture = Image.new("RGB", (64, 64), "red")
    said = [
        {"role": "user", "content": "Describe the image."},
        {"role": "assistant", "content": "There is a red circle."},
    ]
    content: list[dict[str, Any]] = [
        {"kind": "captions", "images": [picture], "messages": said},
        {"kind": "text", "images": [], "text": "A <image> of a circle."},
        {"kind": "interleaved", "images": [picture] * 2, "texts": ["One circle", None, " and", None, " the end."]},
        {"kind": "interleaved", "images": [picture], "texts": ["It ends with", None]},
    ]
    batch = mixture_batches(processor, inner)(content)
    learned = [processor.tokenizer.decode(one[one != -100]) for one in batch["labels"]]
    end = processor.tokenizer.eos_token
    assert [text.strip() for text in learned] == [
        f"There is a red circle.{end}",
        f"A < image> of a circle.{end}",
        f"One circle and the end.{end}",
        f"It ends with{end}",
    ]
    images = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    assert [int((one == images).sum() > 0) for one in batch["input_ids"]] == [1, 0, 1, 1]
    plain = inner([{"images": [picture], "prompt": said[:1], "completion": said[1:]}])
    alone = mixture_batches(processor, inner)(content[:1])
    assert all(plain[name].equal(alone[name]) for name in plain)
    assert "pixel_values" not in mixture_batches(processor, inner)(content[1:2])


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from factory.engines.cluster import ray_cluster

    with ray_cluster(str(tmp_path_factory.mktemp("ray"))):
        yield


def test_texts_alone_train_the_language_side_alone(mixture: Mixed, ray: None, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    (tmp_path / "real.txt").write_text("".join(f"There are {number} shapes.\n" for number in range(40)))
    part = {"text": str(tmp_path / "real.txt"), "share": 1}
    made = mix(parse_mixture({"name": "m", "parts": {"text": part}}), tmp_path / "mixed")
    done = train(made.to, tmp_path / "one", settings())
    before, after = (
        load_file(checkpoint_path("base") / "model.safetensors"),
        load_file(tmp_path / "one" / "model.safetensors"),
    )
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed
    assert not any("vision" in name or "connector" in name for name in changed)
    assert done.validation_loss is not None
    assert done.parents["releases"][0]["manifest_sha256"] == made.manifest_sha256
    assert done.canary["image"] != done.canary["blank"]
    both = train(mixture.to, tmp_path / "both", settings(steps=1))
    assert both.counts["learned"] > 0
