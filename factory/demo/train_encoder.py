"""Train the tiny dual encoder of the demo world on labelled scenes, measure it on unseen ones, and write its checkpoint:
``python -m factory.demo.train_encoder --out DIR``.

Every step shows some pictures and, of each, several true texts with their twins that are false by one attribute. Which
text is true of which picture of the step is known, so every pair of them is an example: a sigmoid loss, as SigLIP's, with
all true pairs as positives. It counts a text's own picture as much as all the others together, since true and false twin
differ little. A linear probe, thrown away after training, reads the scene from the picture's embedding, which teaches the
vision tower to see before texts can.

The threshold between true and false is fixed at a cosine of 0.2, the middle of what the alignment filter maps to [0, 1].
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from transformers import CLIPModel, CLIPProcessor

from factory.demo.claims import ERROR_TYPES
from factory.demo.encoder import (
    TEXT_TOKENS,
    EncoderArchitecture,
    load_encoder,
    new_encoder,
    new_encoder_processor,
    save_encoder,
)
from factory.demo.language import falsified, scene_claims, sentence
from factory.demo.measure import auroc
from factory.demo.paired_texts import Text, text_pair, truth_table
from factory.demo.scene_probe import SCENE_CLASSES, classification_loss, scene_labels
from factory.demo.scenes import Scene, Split, draw_scene, scene_image

THRESHOLD = 0.2
_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """All that decides the outcome of a training run, beside the versions of the libraries and the hardware."""

    scenes: int = 20_000
    steps: int = 2_500
    batch: int = 64
    pairs: int = 3
    learning_rate: float = 1.2e-3
    warm_up: int = 60
    weight_decay: float = 0.05
    logit_scale: float = 20.0
    seed: int = 0
    easy_steps: int = 250


@dataclass(frozen=True, slots=True)
class EncoderMeasurement:
    """What an encoder does on unseen scenes: every sentence of their detailed captions against the same sentence with one
    attribute changed.

    ``auroc``: by cosine, of all sentences together; ``auroc_shuffled``: the same sentences with another scene's picture;
    ``by_error``: ``auroc`` of the false sentences of one kind against all true ones; ``right``: share of the sentences on
    the right side of THRESHOLD; ``cosine_true`` and ``cosine_false``: mean cosines.
    """

    scenes: int
    sentences: int
    auroc: float
    auroc_shuffled: float
    by_error: dict[str, float]
    right: float
    cosine_true: float
    cosine_false: float

    def as_json(self) -> str:
        """The measurement as indented JSON with rounded rates."""
        rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}
        return json.dumps(rounded, indent=2)


def train_encoder(
    settings: EncoderSettings,
    architecture: EncoderArchitecture,
    start: Path | None = None,
    snapshots: Path | None = None,
) -> tuple[CLIPModel, CLIPProcessor]:
    """Train a new encoder, or the checkpoint ``start`` further. Prints the mean losses every 50 steps; every 500 steps a checkpoint goes to ``snapshots``."""
    torch.manual_seed(settings.seed)
    rng = random.Random(f"pairs/{settings.seed}")
    if start is None:
        processor = new_encoder_processor()
        model = new_encoder(architecture, processor)
        model.logit_scale.data.fill_(math.log(settings.logit_scale))
    else:
        model, processor = load_encoder(start)
        model.train()
    # On a CPU, eager attention's backward pass is several times faster than the fused one for such short texts.
    model.set_attn_implementation({"text_config": "eager", "vision_config": "eager"})
    started = time.monotonic()
    scenes = [draw_scene(settings.seed, index, "train") for index in range(settings.scenes)]
    pixels = encoder_pixels(processor, scenes)
    print(f"{len(scenes)} scenes drawn in {time.monotonic() - started:.0f} s", flush=True)

    probe = nn.Linear(model.config.projection_dim, sum(SCENE_CLASSES))
    trained = [*model.parameters(), *probe.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": settings.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
    )
    labels = [scene_labels(scene) for scene in scenes]
    batches = _batches(scenes, settings, rng)
    recent: list[dict[str, float]] = []
    started = time.monotonic()
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, settings)
        chosen = next(batches)
        about, texts = _texts([scenes[number] for number in chosen], settings.pairs, rng)
        true = torch.from_numpy(truth_table([text.claims for text in texts], [scenes[number] for number in chosen]))
        true[torch.arange(len(texts)), torch.tensor(about)] = torch.tensor([text.true for text in texts])
        with torch.autocast("cpu", torch.bfloat16):
            seen = model.get_image_features(pixel_values=normalized(processor, pixels[chosen])).pooler_output
            read = _text_features(model, processor, [text.text for text in texts])
            probed = classification_loss(probe(seen.float()).float(), [labels[number] for number in chosen])
        own, others = _losses(seen.float(), read.float(), model.logit_scale.exp(), torch.tensor(about), true)
        (own + others + probed).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        recent.append({"own": own.item(), "others": others.item(), "probe": probed.item()})
        if (step + 1) % 50 == 0 or step + 1 == settings.steps:
            shown = " ".join(f"{name} {sum(past[name] for past in recent) / len(recent):.3f}" for name in recent[0])
            print(f"step {step + 1} {shown} {time.monotonic() - started:.0f} s", flush=True)
            recent.clear()
        if snapshots is not None and (step + 1) % 500 == 0:
            save_encoder(model, processor, snapshots)
    return model.eval(), processor


def _batches(scenes: list[Scene], settings: EncoderSettings, rng: random.Random) -> Iterator[list[int]]:
    """The scenes' numbers for one step after the other: of one or two shapes first, then all in shuffled rounds."""
    easy = [number for number, scene in enumerate(scenes) if len(scene.things) <= 2]
    for _ in range(settings.easy_steps):
        yield rng.sample(easy, min(len(easy), settings.batch))
    order = list(range(len(scenes)))
    while True:
        rng.shuffle(order)
        for start in range(0, len(order) - settings.batch + 1, settings.batch):
            yield order[start : start + settings.batch]


def _schedule(step: int, settings: EncoderSettings) -> float:
    if step < settings.warm_up:
        return (step + 1) / settings.warm_up
    done = (step - settings.warm_up) / max(1, settings.steps - settings.warm_up)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


def _texts(scenes: Sequence[Scene], pairs: int, rng: random.Random) -> tuple[list[int], list[Text]]:
    """``pairs`` true texts of each scene and their false twins, and the position of the scene that each is about."""
    about: list[int] = []
    texts: list[Text] = []
    for position, scene in enumerate(scenes):
        for _ in range(pairs):
            pair = text_pair(scene, rng)
            if pair is not None:
                about += [position, position]
                texts += pair
    return about, texts


def _losses(
    seen: torch.Tensor, read: torch.Tensor, scale: torch.Tensor, about: torch.Tensor, true: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sigmoid loss of the texts with the pictures they are about, and with all pictures (true and false pairs
    weighing the same). ``true``: (texts, pictures).
    """
    cosines = functional.normalize(read, dim=-1) @ functional.normalize(seen, dim=-1).T
    losses = functional.binary_cross_entropy_with_logits(
        scale * (cosines - THRESHOLD), true.to(cosines.dtype), reduction="none"
    )
    own = losses[torch.arange(len(about)), about].mean()
    return own, (losses[true].mean() + losses[~true].mean()) / 2


def encoder_pixels(processor: CLIPProcessor, scenes: Sequence[Scene]) -> torch.Tensor:
    """The scenes' pictures as the processor sizes them: uint8 (scenes, 3, side, side)."""
    parts = []
    for start in range(0, len(scenes), _AT_ONCE):
        images = [Image.open(BytesIO(scene_image(scene))).convert("RGB") for scene in scenes[start : start + _AT_ONCE]]
        sized = processor.image_processor(images, do_rescale=False, do_normalize=False, return_tensors="pt")
        parts.append(sized["pixel_values"].to(torch.uint8))
    return torch.cat(parts)


def normalized(processor: CLIPProcessor, pixels: torch.Tensor) -> torch.Tensor:
    """The processor's last step: float32 as the model takes them."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in _mean_and_std(processor))
    return (pixels.float() / 255 - mean) / std


def _mean_and_std(processor: CLIPProcessor) -> tuple[list[float], list[float]]:
    return processor.image_processor.image_mean, processor.image_processor.image_std


def _text_features(model: CLIPModel, processor: CLIPProcessor, texts: Sequence[str]) -> torch.Tensor:
    """(texts, projection). Texts of like length run together, so that little is padding."""
    ids = processor.tokenizer(list(texts), truncation=True, max_length=TEXT_TOKENS)["input_ids"]
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
    parts = []
    for start in range(0, len(order), _AT_ONCE // 2):
        some = [ids[number] for number in order[start : start + _AT_ONCE // 2]]
        batch = processor.tokenizer.pad({"input_ids": some}, return_tensors="pt")
        parts.append(model.get_text_features(**batch).pooler_output)
    return torch.cat(parts)[torch.tensor(order).argsort()]


@torch.inference_mode()
def measure_encoder(
    model: CLIPModel, processor: CLIPProcessor, count: int, split: Split = "heldout"
) -> EncoderMeasurement:
    """Measure an encoder on the first ``count`` scenes (seed 0) of a split."""
    scenes = [draw_scene(0, index, split) for index in range(count)]
    rng = random.Random(0)
    about: list[int] = []
    texts: list[str] = []
    errors: list[str | None] = []
    for number, scene in enumerate(scenes):
        for claim in scene_claims(scene):
            changed = falsified([claim], scene, rng)
            if changed is not None:
                wording = rng.randrange(3)
                about += [number, number]
                texts += [sentence(claim, wording), sentence(changed[0][0], wording)]
                errors += [None, changed[1]]
    pixels = encoder_pixels(processor, scenes)
    seen = torch.cat(
        [
            model.get_image_features(pixel_values=normalized(processor, part)).pooler_output
            for part in pixels.split(_AT_ONCE)
        ]
    )
    seen, read = (
        functional.normalize(seen, dim=-1),
        functional.normalize(_text_features(model, processor, texts), dim=-1),
    )
    place = torch.tensor(about)
    cosines = (seen[place] * read).sum(-1)
    shuffled = (seen[(place + 1) % count] * read).sum(-1)
    true = torch.tensor([error is None for error in errors])
    by_error: dict[str, float] = {}
    for kind in ERROR_TYPES:
        kept = [position for position, error in enumerate(errors) if error in (None, kind)]
        found = auroc(cosines[kept].tolist(), true[kept].tolist())
        by_error[kind] = round(found if found is not None else math.nan, 4)
    return EncoderMeasurement(
        scenes=count,
        sentences=len(texts),
        auroc=auroc(cosines.tolist(), true.tolist()) or math.nan,
        auroc_shuffled=auroc(shuffled.tolist(), true.tolist()) or math.nan,
        by_error=by_error,
        right=((cosines > THRESHOLD) == true).float().mean().item(),
        cosine_true=cosines[true].mean().item(),
        cosine_false=cosines[~true].mean().item(),
    )


def encoder_card(
    settings: EncoderSettings,
    architecture: EncoderArchitecture,
    parameters: int,
    measured: EncoderMeasurement,
    command: str,
    minutes: float,
) -> str:
    """The model card as Markdown with the Hub's YAML header. ``minutes``: how long the training took."""
    errors = "\n".join(f"| {kind} | {value:.3f} |" for kind, value in measured.by_error.items())
    listed = ", ".join(f"{name} {value}" for name, value in asdict(settings).items())
    return f"""---
license: apache-2.0
pipeline_tag: zero-shot-image-classification
library_name: transformers
---

# The demo world's tiny dual encoder

A CLIP-architecture model with {parameters:,} parameters (hidden size {architecture.hidden}, {architecture.vision_layers}
vision and {architecture.text_layers} text layers, embeddings of {architecture.projection} numbers, 64x64 pixels,
{TEXT_TOKENS} text tokens, stored as bfloat16), trained from nothing on drawn scenes of the demo world, independently of the
captioner beside it. It tells sentences that are true of a scene from sentences that are false by one attribute: true above a
cosine of {THRESHOLD}. It knows nothing else: it exists so that the alignment filter can be run, tested and measured without a
download (`alignment: {{model: demo:align}}` in a recipe).

## Measured on {measured.scenes:,} scenes it was not trained on

No scene of the evaluation has the contents of any training scene. Every sentence of their detailed captions, and the same
with one attribute changed: {measured.sentences:,} sentences.

| | |
|---|---|
| AUROC of the cosine, true against changed sentences | {measured.auroc:.3f} |
| the same with each sentence beside another scene's picture | {measured.auroc_shuffled:.3f} |
| sentences on the right side of {THRESHOLD} | {measured.right:.1%} |
| mean cosine of true sentences | {measured.cosine_true:.3f} |
| mean cosine of changed sentences | {measured.cosine_false:.3f} |

AUROC by what was changed:

| changed | AUROC |
|---|---|
{errors}

## Made with

```
{command}
```

in {minutes:.0f} minutes on one core; {listed}.
"""


def main() -> None:
    """Train, measure, and write the checkpoint with its card."""
    parser = argparse.ArgumentParser(description="Train the tiny dual encoder of the demo world.")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--evaluation-scenes", type=int, default=1000)
    parser.add_argument("--start", type=Path, help="checkpoint to train further, instead of a new model")
    parser.add_argument("--snapshots", type=Path, help="folder for a checkpoint every 500 steps")
    for options in (EncoderSettings, EncoderArchitecture):
        for field in dataclasses.fields(options):
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    parsed = vars(parser.parse_args())
    settings = EncoderSettings(**{field.name: parsed[field.name] for field in dataclasses.fields(EncoderSettings)})
    architecture = EncoderArchitecture(
        **{field.name: parsed[field.name] for field in dataclasses.fields(EncoderArchitecture)}
    )
    torch.set_num_threads(parsed["threads"])
    started = time.monotonic()
    model, processor = train_encoder(settings, architecture, parsed["start"], parsed["snapshots"])
    minutes = (time.monotonic() - started) / 60
    save_encoder(model, processor, parsed["out"])
    # Measured is what was written, in bfloat16, not what was in memory.
    model, processor = load_encoder(parsed["out"])
    measured = measure_encoder(model, processor, parsed["evaluation_scenes"])
    print(measured.as_json(), flush=True)
    command = shlex.join(["python", "-m", "factory.demo.train_encoder", *sys.argv[1:]])
    text = encoder_card(settings, architecture, model.num_parameters(), measured, command, minutes)
    (parsed["out"] / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
