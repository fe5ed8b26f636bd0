"""The demo world's dual encoder: its texts are labelled with the truth, and its checkpoint is small and as the card says."""

import json
import math
import random
import struct

from factory.demo.checkpoint import checkpoint_path
from factory.demo.claims import differences
from factory.demo.paired_texts import text_pair, truth_table
from factory.demo.scenes import draw_scene
from factory.demo.truth import judge_caption_of

FOLDER = checkpoint_path("align")


def test_of_a_pair_one_text_is_true_and_the_other_is_not():
    rng = random.Random(1)
    for index in range(400):
        scene = draw_scene(0, index, "train")
        pair = text_pair(scene, rng)
        if pair is None:
            continue
        true, false = pair
        assert (true.true, false.true) == (True, False)
        assert differences(true.claims, scene) == ()
        assert len(differences(false.claims, scene)) == 1
        assert true.text != false.text
        if true.text.endswith("."):
            assert judge_caption_of(true.text, scene).correct
            assert not judge_caption_of(false.text, scene).correct


def test_the_truth_table_agrees_with_the_truth():
    rng = random.Random(2)
    scenes = [draw_scene(0, index, "train") for index in range(60)]
    texts = [text for scene in scenes for pair in [text_pair(scene, rng)] if pair for text in pair]

    table = truth_table([text.claims for text in texts], scenes)

    for row, text in enumerate(texts):
        for column, scene in enumerate(scenes):
            assert table[row, column] == all(not differences([claim], scene) for claim in text.claims)


def test_the_shipped_folder_is_at_most_3_mb_and_its_weights_as_many_as_the_card_says():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 3_000_000
    with (FOLDER / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
    assert {tensor["dtype"] for tensor in tensors.values()} == {"BF16"}
    parameters = sum(math.prod(tensor["shape"]) for tensor in tensors.values())
    assert f"{parameters:,} parameters" in (FOLDER / "README.md").read_text()


def test_the_card_says_what_was_measured_and_how_it_was_made():
    card = (FOLDER / "README.md").read_text()
    for words in (
        "AUROC of the cosine",
        "beside another scene's picture",
        "python -m factory.demo.train_encoder --out",
    ):
        assert words in card


def test_training_pixels_are_the_served_pixels():
    from io import BytesIO

    import torch
    from PIL import Image

    from factory.demo.encoder import load_encoder
    from factory.demo.scenes import scene_image
    from factory.demo.train_encoder import encoder_pixels, normalized

    _, processor = load_encoder(FOLDER)
    scenes = [draw_scene(0, index) for index in range(6)]
    images = [Image.open(BytesIO(scene_image(scene))).convert("RGB") for scene in scenes]
    served = processor.image_processor(images, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(normalized(processor, encoder_pixels(processor, scenes)), served)


def test_no_text_of_the_demo_world_is_beyond_the_limit():
    from factory.demo.encoder import TEXT_TOKENS, new_encoder_processor

    tokenizer = new_encoder_processor().tokenizer
    rng = random.Random(3)
    for index in range(200):
        pair = text_pair(draw_scene(0, index, "train"), rng)
        for text in pair or ():
            assert len(tokenizer(text.text)["input_ids"]) <= TEXT_TOKENS


def test_the_same_settings_train_the_same_encoder():
    import torch

    from factory.demo.encoder import EncoderArchitecture
    from factory.demo.train_encoder import EncoderSettings, train_encoder

    settings = EncoderSettings(scenes=60, steps=3, batch=4, easy_steps=1)
    tiny = EncoderArchitecture(hidden=32, feed_forward=32, vision_layers=1, text_layers=1, projection=32)
    first, second = (train_encoder(settings, tiny)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
