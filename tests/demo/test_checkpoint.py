"""The shipped checkpoint: small, of the right make, and trained on the very tokens and pixels that serve it."""

import json
import math
import struct

import pytest

from factory.demo.checkpoint import checkpoint_path

FOLDER = checkpoint_path()


def safetensors_header() -> dict:
    with (FOLDER / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length))


def test_the_shipped_folder_is_at_most_8_mb():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 8_000_000


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(FileNotFoundError, match="small"):
        checkpoint_path("enormous")


def test_config_is_an_idefics3_the_cpu_engine_serves():
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["architectures"] == ["Idefics3ForConditionalGeneration"]
    assert config["dtype"] == "bfloat16"
    text, vision = config["text_config"], config["vision_config"]
    assert text["head_dim"] == 32
    assert vision["hidden_size"] // vision["num_attention_heads"] == 32
    image = json.loads((FOLDER / "processor_config.json").read_text())
    assert image["image_processor"]["do_image_splitting"] is False
    assert image["image_processor"]["max_image_size"]["longest_edge"] == vision["image_size"]
    patches = vision["image_size"] // vision["patch_size"]
    assert image["image_seq_len"] == patches**2 // config["scale_factor"] ** 2 == 16


def test_weights_are_bfloat16_and_as_many_as_the_card_says():
    tensors = {name: tensor for name, tensor in safetensors_header().items() if name != "__metadata__"}
    assert {tensor["dtype"] for tensor in tensors.values()} == {"BF16"}
    parameters = sum(math.prod(tensor["shape"]) for tensor in tensors.values())
    assert f"{parameters:,} parameters" in (FOLDER / "README.md").read_text()


def test_the_card_says_what_was_measured_and_how_it_was_made():
    card = (FOLDER / "README.md").read_text()
    for words in ("wrong sentences in detailed captions", "AUROC of P(yes)", "python -m factory.demo.train --out"):
        assert words in card


@pytest.fixture(scope="module")
def loaded():
    from factory.demo.checkpoint import load_checkpoint

    return load_checkpoint(FOLDER)


@pytest.mark.parametrize("text", [" There is one shape.", "Zwölf Größen 漢字 \n\t  ok", '"IMG_2041.jpg"', ""])
def test_any_text_comes_back_from_the_tokenizer(loaded, text):
    tokenizer = loaded[1].tokenizer
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_words_and_answers_are_one_token_each(loaded):
    tokenizer = loaded[1].tokenizer
    for word in (" yes", " no", " small", " triangle", " orange", " left", "stop", " three"):
        assert len(tokenizer(word)["input_ids"]) == 1


def test_training_texts_are_the_chat_template_token_for_token(loaded):
    from factory.demo.shared_prefix import prefix_ids, segments

    _, processor = loaded
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Write a short caption."}, {"type": "image"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A red star."}]},
    ]
    served = processor.apply_chat_template([messages[0]], add_generation_prompt=True)
    image = processor.replace_image_token({"rows": [[0]], "cols": [[0]]}, 0)
    expected = processor.tokenizer(served.replace("<image>", image, 1))["input_ids"]
    (segment,) = segments(processor, [(0, "Write a short caption.", "A red star.")])
    assert prefix_ids(processor) + segment.prompt == expected
    assert processor.tokenizer.decode(segment.answer) == " A red star.<end_of_utterance>"


def test_training_pixels_are_the_served_pixels(loaded):
    from io import BytesIO

    import torch
    from PIL import Image

    from factory.demo.measure import prepare_pixels
    from factory.demo.scenes import draw_scene, scene_image
    from factory.demo.shared_prefix import pixel_values

    _, processor = loaded
    scenes = [draw_scene(0, index) for index in range(6)]
    images = [[Image.open(BytesIO(scene_image(scene))).convert("RGB")] for scene in scenes]
    served = processor.image_processor(images, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixel_values(processor, prepare_pixels(processor, scenes)), served)


def test_a_text_trained_beside_others_is_as_if_alone(loaded):
    import torch

    from factory.demo.measure import prepare_pixels
    from factory.demo.scenes import draw_scene
    from factory.demo.shared_prefix import encode_images, pixel_values, prefix_ids, read, segments

    model, processor = loaded[0].float(), loaded[1]
    pixels = prepare_pixels(processor, [draw_scene(0, index) for index in range(2)])
    texts = [
        (0, "Describe the image in detail.", "There are two shapes."),
        (1, "Is this true: There is a star. Answer yes or no.", "no"),
        (0, "Is this true: There is a star. Answer yes or no.", "yes"),
    ]
    together = segments(processor, texts)
    with torch.inference_mode():
        logits, targets = read(model, encode_images(model, processor, pixels), together).answers(model)
        for segment in together:
            ids = torch.tensor([prefix_ids(processor) + segment.prompt + segment.answer])
            values = pixel_values(processor, pixels[segment.image][None])
            alone = model(input_ids=ids, pixel_values=values).logits[0, -len(segment.answer) - 1 : -1]
            torch.testing.assert_close(logits[: len(segment.answer)], alone, atol=1e-3, rtol=1e-3)
            assert targets[: len(segment.answer)].tolist() == segment.answer
            logits, targets = logits[len(segment.answer) :], targets[len(segment.answer) :]


def test_the_judge_is_another_model_of_the_same_language():
    judge = checkpoint_path("judge")
    assert judge != FOLDER
    assert (judge / "tokenizer.json").read_bytes() == (FOLDER / "tokenizer.json").read_bytes()
    assert (judge / "model.safetensors").read_bytes() != (FOLDER / "model.safetensors").read_bytes()
    card = (judge / "README.md").read_text()
    assert "python -m factory.demo.train --out factory/demo/checkpoints/judge" in card
    assert "--seed 0" not in card
    assert sum(path.stat().st_size for path in judge.iterdir()) <= 8_000_000
