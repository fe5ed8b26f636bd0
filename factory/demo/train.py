"""Train the tiny VLM of the demo world on labelled scenes, measure it on unseen ones, and write its checkpoint:
``python -m factory.demo.train --out DIR``.

Every image is encoded once a step, and many texts about it are trained from there (``shared_prefix.py``): captions in
both styles, yes/no questions about true and false statements, open questions. A probe (``scene_probe.py``) teaches the
vision tower to see at the same time. Easy comes first: scenes with one shape, then with two, then all; and many open
questions ("Which colour is at the top left?"), which teach the model to look, then ever more yes/no questions, which it
learns last. From half-way on, half of the images come with questions about sentences that the model itself wrote about
them, labelled with the truth. With ``--see-first`` the vision tower and the probe are trained alone for some steps before all
that, which is ten times as fast as the rest, and worth it where there are many scenes.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import random
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import Idefics3ForConditionalGeneration, Idefics3Processor

from factory.demo.card import card
from factory.demo.checkpoint import Architecture, load_checkpoint, new_model, new_processor, save_checkpoint
from factory.demo.language import (
    CONTEXT_PROMPTS,
    DETAILED_PROMPTS,
    SHORT_PROMPTS,
    Exchange,
    Statement,
    detailed_caption,
    open_question,
    short_caption,
    statement,
    yes_no,
)
from factory.demo.measure import measure, prepare_pixels, write_captions
from factory.demo.scene_probe import SceneProbe, scene_labels
from factory.demo.scenes import Scene, draw_scene
from factory.demo.shared_prefix import Segment, by_length, encode_images, pixel_values, read, segments
from factory.demo.source_row import web_text
from factory.demo.truth import judge_caption_of


@dataclass(frozen=True, slots=True)
class Settings:
    """All that decides the outcome of a training run, beside the versions of the libraries and the hardware."""

    scenes: int = 20_000
    steps: int = 4_000
    batch: int = 32
    learning_rate: float = 1.5e-3
    warm_up: int = 60
    weight_decay: float = 0.05
    seed: int = 0
    one_shape_steps: int = 300
    two_shape_steps: int = 300
    yes_no_first: int = 2
    yes_no_last: int = 7
    open_first: int = 4
    open_last: int = 1
    own_sentences: bool = True
    see_first: int = 0


@dataclass(frozen=True, slots=True)
class Lesson:
    """The texts of one batch by what they teach: captions, yes/no questions, open questions."""

    captions: list[Segment]
    yes_no: list[Segment]
    open: list[Segment]


_GROUP = 128
_SEE_BATCH = 64
_END_WEIGHT = 0.1
_TOLD_WEIGHT = 0.5
_OWN_EVERY, _OWN_IMAGES, _OWN_KEPT = 100, 256, 2048


def train(
    settings: Settings, architecture: Architecture, start: Path | None = None, snapshots: Path | None = None
) -> tuple[Idefics3ForConditionalGeneration, Idefics3Processor]:
    """Train a new model, or the checkpoint ``start`` further. Prints the mean losses every 50 steps; every 500 steps, and
    when it has learned to see, a checkpoint goes to ``snapshots``.
    """
    torch.manual_seed(settings.seed)
    rng = random.Random(f"lessons/{settings.seed}")
    if start is None:
        processor = new_processor()
        model = new_model(architecture, processor.tokenizer)
    else:
        model, processor = load_checkpoint(start)
        model = model.float().train()
    # On a CPU, eager attention's backward pass is several times faster than the fused one for such short texts.
    model.set_attn_implementation({"text_config": "eager", "vision_config": "eager"})
    started = time.monotonic()
    scenes = [draw_scene(settings.seed, index, "train") for index in range(settings.scenes)]
    pixels = prepare_pixels(processor, scenes)
    print(f"{len(scenes)} scenes drawn in {time.monotonic() - started:.0f} s", flush=True)

    probe = SceneProbe(model.config.text_config.hidden_size)
    labels = [scene_labels(scene) for scene in scenes]
    if settings.see_first:
        _see_first(model, probe, processor, pixels, labels, settings)
        if snapshots is not None:
            save_checkpoint(model, processor, snapshots)
    trained = [*model.parameters(), *probe.parameters()]
    decayed = [p for p in trained if p.ndim >= 2]
    plain = [p for p in trained if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
    )
    lessons = _curriculum(scenes, settings, rng)
    own: dict[int, list[Statement]] = {}
    recent: list[dict[str, float]] = []
    started = time.monotonic()
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, settings)
        if settings.own_sentences and step >= settings.steps // 2 and step % _OWN_EVERY == 0:
            own = _own_statements(model, processor, scenes, pixels, rng, own)
        chosen = next(lessons)
        if own:
            half = min(len(own), len(chosen) // 2)
            chosen[:half] = rng.sample(list(own), half)
        lesson = _lesson(processor, scenes, chosen, own, step / settings.steps, settings, rng)
        losses = _learn(model, probe, processor, pixels[chosen], [labels[image] for image in chosen], lesson)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        recent.append(losses)
        if (step + 1) % 50 == 0 or step + 1 == settings.steps:
            shown = " ".join(f"{name} {sum(past[name] for past in recent) / len(recent):.3f}" for name in losses)
            print(f"step {step + 1} {shown} {time.monotonic() - started:.0f} s", flush=True)
            recent.clear()
        if snapshots is not None and (step + 1) % 500 == 0:
            save_checkpoint(model, processor, snapshots)
    return model, processor


def _see_first(
    model: Idefics3ForConditionalGeneration,
    probe: SceneProbe,
    processor: Idefics3Processor,
    pixels: torch.Tensor,
    labels: list[list[int]],
    settings: Settings,
) -> None:
    """Train the vision tower, the connector and the probe alone; prints the mean loss every 500 steps."""
    seeing = [*model.model.vision_model.parameters(), *model.model.connector.parameters(), *probe.parameters()]
    optimizer = torch.optim.AdamW(
        seeing, lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay
    )
    draws = torch.Generator().manual_seed(settings.seed)
    started = time.monotonic()
    recent: list[float] = []
    for step in range(settings.see_first):
        warm = min(1.0, (step + 1) / settings.warm_up)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * warm * max(0.02, 1 - step / settings.see_first)
        chosen = torch.randint(len(labels), (_SEE_BATCH,), generator=draws)
        with torch.autocast("cpu", torch.bfloat16):
            values = pixel_values(processor, pixels[chosen])
            features = model.model.get_image_features(values, return_dict=True).pooler_output
            loss = probe.loss(features, [labels[number] for number in chosen.tolist()])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(seeing, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        recent.append(loss.item())
        if (step + 1) % 500 == 0:
            mean = sum(recent) / len(recent)
            print(f"seeing {step + 1} probe {mean:.3f} {time.monotonic() - started:.0f} s", flush=True)
            recent.clear()


def _curriculum(scenes: list[Scene], settings: Settings, rng: random.Random) -> Iterator[list[int]]:
    """The scenes' numbers for one step after the other: of few shapes first, then of any number in shuffled rounds."""
    for shapes, steps in ((1, settings.one_shape_steps), (2, settings.two_shape_steps)):
        easy = [number for number, scene in enumerate(scenes) if len(scene.things) <= shapes]
        for _ in range(steps):
            yield rng.sample(easy, min(len(easy), settings.batch))
    order = list(range(len(scenes)))
    while True:
        rng.shuffle(order)
        for start in range(0, len(order) - settings.batch + 1, settings.batch):
            yield order[start : start + settings.batch]


def _schedule(step: int, settings: Settings) -> float:
    if step < settings.warm_up:
        return (step + 1) / settings.warm_up
    done = (step - settings.warm_up) / max(1, settings.steps - settings.warm_up)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


def _lesson(
    processor: Idefics3Processor,
    scenes: list[Scene],
    images: list[int],
    own: dict[int, list[Statement]],
    progress: float,
    settings: Settings,
    rng: random.Random,
) -> Lesson:
    captions: list[tuple[int, str, str]] = []
    yes_nos: list[tuple[int, str, str]] = []
    opens: list[tuple[int, str, str]] = []
    asked = round(settings.yes_no_first + (settings.yes_no_last - settings.yes_no_first) * progress)
    asked_open = round(settings.open_last + (settings.open_first - settings.open_last) * max(0.0, 1 - 2 * progress))
    for number, image in enumerate(images):
        scene = scenes[image]
        prompt = rng.choices(DETAILED_PROMPTS, (0.4, 0.25, 0.25, 0.1))[0]
        captions.append((number, _with_context(prompt, scene, rng), detailed_caption(scene, rng)))
        if rng.random() < 0.5:
            captions.append((number, rng.choice(SHORT_PROMPTS), short_caption(scene, rng)))
        statements = own.get(image, [])[:asked]
        statements = statements + [statement(scene, rng) for _ in range(asked - len(statements))]
        exchanges: list[Exchange] = [yes_no(about, rng) for about in statements]
        yes_nos += [(number, exchange.question, exchange.answer) for exchange in exchanges]
        for _ in range(asked_open):
            exchange = open_question(scene, rng)
            opens.append((number, exchange.question, exchange.answer))
    return Lesson(*(segments(processor, texts) for texts in (captions, yes_nos, opens)))


def _with_context(prompt: str, scene: Scene, rng: random.Random) -> str:
    text = web_text(scene)
    if not text or rng.random() < 0.5:
        return prompt
    return rng.choice(CONTEXT_PROMPTS).format(text=text, prompt=prompt)


def _learn(
    model: Idefics3ForConditionalGeneration,
    probe: SceneProbe,
    processor: Idefics3Processor,
    pixels: torch.Tensor,
    labels: list[list[int]],
    lesson: Lesson,
) -> dict[str, float]:
    """Accumulate the gradients of one lesson. Returns the probe's loss and the mean loss per answer token of each kind
    of text, for yes/no answers without their end; ``told`` is the loss on the questions whose answer is yes.

    What such a question says of the image is as true as a caption, so it is learned as text too: a model that expects
    the true word at each place of a statement can tell it from a wrong one.
    """
    yes = processor.tokenizer(" yes")["input_ids"][0]
    kinds = {"captions": (lesson.captions, 1.0), "yes/no": (lesson.yes_no, 1.0), "open": (lesson.open, 0.5)}
    with torch.autocast("cpu", torch.bfloat16):
        prefix = encode_images(model, processor, pixels)
        total = probe.loss(prefix.features, labels)
        losses = {"probe": total}
        for name, (texts, weight) in kinds.items():
            readings = [read(model, prefix, group) for group in by_length(texts, _GROUP)]
            logits, targets = _joined(reading.answers(model) for reading in readings)
            if name == "yes/no":
                told = _joined(
                    reading.prompts(model, [s.answer[0] == yes for s in reading.segments]) for reading in readings
                )
                losses["told"] = functional.cross_entropy(told[0].float(), told[1])
                total = total + _TOLD_WEIGHT * losses["told"]
                # Tokens alternate: the word, the end. The word counts; the end is soon certain.
                total = total + _END_WEIGHT * functional.cross_entropy(logits[1::2].float(), targets[1::2])
                logits, targets = logits[::2], targets[::2]
            loss = functional.cross_entropy(logits.float(), targets)
            losses[name] = loss
            total = total + weight * loss
    total.backward()
    return {name: loss.item() for name, loss in losses.items()}


def _joined(parts: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    logits, targets = zip(*parts, strict=True)
    return torch.cat(logits), torch.cat(targets)


def _own_statements(
    model: Idefics3ForConditionalGeneration,
    processor: Idefics3Processor,
    scenes: list[Scene],
    pixels: torch.Tensor,
    rng: random.Random,
    known: dict[int, list[Statement]],
) -> dict[int, list[Statement]]:
    """What the model now writes, sampled, about some training scenes: of each caption as many wrong as correct
    sentences. The oldest of the known ones make room.
    """
    images = rng.sample(range(len(scenes)), min(len(scenes), _OWN_IMAGES))
    model.eval()
    with torch.autocast("cpu", torch.bfloat16):
        captions = write_captions(model, processor, pixels[images], DETAILED_PROMPTS[0], temperature=0.8)
    model.train()
    found: dict[int, list[Statement]] = {}
    for image, caption in zip(images, captions, strict=True):
        sentences = [s for s in judge_caption_of(caption, scenes[image]).sentences if s.parsed]
        wrong = [Statement(s.text, False) for s in sentences if not s.correct]
        right = [Statement(s.text, True) for s in sentences if s.correct]
        pairs = min(len(wrong), len(right))
        if pairs:
            found[image] = rng.sample(wrong, pairs) + rng.sample(right, pairs)
            rng.shuffle(found[image])
    kept = list(known.items())[-(_OWN_KEPT - len(found)) :] if known else []
    return dict(kept) | found


def main() -> None:
    """Train, measure, and write the checkpoint with its card."""
    parser = argparse.ArgumentParser(description="Train the tiny VLM of the demo world.")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--evaluation-scenes", type=int, default=1000)
    parser.add_argument("--start", type=Path, help="checkpoint to train further, instead of a new model")
    parser.add_argument("--snapshots", type=Path, help="folder for a checkpoint every 500 steps")
    for field in dataclasses.fields(Settings):
        option = f"--{field.name.replace('_', '-')}"
        if field.name == "own_sentences":
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            parser.add_argument(option, type=type(field.default), default=field.default)
    for field in dataclasses.fields(Architecture):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default)
    parsed = vars(parser.parse_args())
    settings = Settings(**{field.name: parsed[field.name] for field in dataclasses.fields(Settings)})
    architecture = Architecture(**{field.name: parsed[field.name] for field in dataclasses.fields(Architecture)})

    torch.set_num_threads(parsed["threads"])
    started = time.monotonic()
    model, processor = train(settings, architecture, parsed["start"], parsed["snapshots"])
    minutes = (time.monotonic() - started) / 60
    save_checkpoint(model, processor, parsed["out"])
    # Measured is what was written, in bfloat16, not what was in memory.
    model, processor = load_checkpoint(parsed["out"])
    measured = measure(model.float(), processor, parsed["evaluation_scenes"])
    print(measured.as_json(), flush=True)
    command = shlex.join(["python", "-m", "factory.demo.train", *sys.argv[1:]])
    text = card(dataclasses.asdict(settings), architecture, model.num_parameters(), measured, command, minutes)
    (parsed["out"] / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
