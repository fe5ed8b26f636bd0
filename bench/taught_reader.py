"""The demo captioner, taught a little further to use the words that a prompt says are printed in the image.

The shipped one was taught with web texts, most of which are wrong, and so does not listen to them. This teaches what any larger
captioner can do already: a hundred steps of the language model alone, on scenes of the training split, half of them with a printed word.
In half of the lessons whose prompt tells the word the picture shows another one, and the prompt is right: where both tell the same
there is nothing to learn. The vision tower stays as it is: what it does not see, it still does not.
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

ASKED: Final = "These words are printed in the image: {words}. Describe the image in detail."
BATCH: Final = 32
RATE: Final = 1e-3
PLAIN_SHARE: Final = 0.25
"""Of the lessons, those without words in the prompt: so that it captions without them as before."""


def teach(folder: Path, steps: int, seed: int = 0) -> Path:
    """Write a checkpoint to `folder`. Minutes on a core."""
    import torch
    from torch.nn import functional

    from factory.demo.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint
    from factory.demo.language import DETAILED_PROMPTS, detailed_caption
    from factory.demo.measure import prepare_pixels
    from factory.demo.shared_prefix import by_length, encode_images, read, segments

    rng = random.Random(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model, processor = load_checkpoint(checkpoint_path("small"))
    model = model.float().train()
    model.set_attn_implementation({"text_config": "eager", "vision_config": "eager"})
    scenes = _scenes(min(steps * BATCH, 2000))
    pixels = prepare_pixels(processor, scenes)
    misread = prepare_pixels(processor, [_with_another_word(scene, rng) for scene in scenes])
    taught = list(
        dict.fromkeys([*model.model.text_model.parameters(), *model.lm_head.parameters()])
    )  # the head may be tied
    for one in model.parameters():
        one.requires_grad_(False)
    for one in taught:
        one.requires_grad_(True)
    optimizer = torch.optim.AdamW(taught, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    began = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 20) * max(0.05, 1 - step / steps)
        chosen = rng.sample(range(len(scenes)), BATCH)
        told = [rng.random() >= PLAIN_SHARE for _ in chosen]
        texts = [
            (
                number,
                _told(scenes[place]) if told[number] else rng.choice(DETAILED_PROMPTS),
                detailed_caption(scenes[place], rng),
            )
            for number, place in enumerate(chosen)
        ]
        seen = [misread if told[number] and rng.random() < 0.5 else pixels for number in range(BATCH)]
        shown = torch.stack([source[place] for source, place in zip(seen, chosen, strict=True)])
        prefix = encode_images(model, processor, shown)
        parts = [read(model, prefix, part).answers(model) for part in by_length(segments(processor, texts), BATCH // 2)]
        loss = functional.cross_entropy(
            torch.cat([logits for logits, _ in parts]).float(), torch.cat([ids for _, ids in parts])
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(taught, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 50 == 0:
            print(
                f"step {step + 1}: loss {loss.item():.3f}, {time.monotonic() - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    save_checkpoint(model.eval(), processor, folder)
    return folder


def _scenes(count: int) -> list[Any]:
    """Of the training split, every second one with a printed word."""
    from factory.demo.scenes import draw_scene

    found: list[Any] = []
    number = 0
    while len(found) < count:
        scene = draw_scene(11, number, "train")
        number += 1
        if (scene.word is not None) == (len(found) % 2 == 0):
            found.append(scene)
    return found


def _told(scene: Any) -> str:
    """The prompt with the words as rapidocr gives them."""
    return ASKED.format(words="none" if scene.word is None else f'"{scene.word.word.upper()}"')


def _with_another_word(scene: Any, rng: random.Random) -> Any:
    from factory.demo.scenes import WORDS, PrintedWord

    if scene.word is None:
        return scene
    other = rng.choice([word for word in WORDS if word != scene.word.word])
    return replace(scene, word=PrintedWord(other, scene.word.place))


if __name__ == "__main__":
    teach(Path(sys.argv[1]), int(sys.argv[2]))
