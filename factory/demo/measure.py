"""Measure a demo checkpoint on scenes it was not trained on: ``python -m factory.demo.measure CHECKPOINT``."""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from transformers import Idefics3ForConditionalGeneration, Idefics3Processor

from factory.demo.checkpoint import load_checkpoint
from factory.demo.claims import ERROR_TYPES
from factory.demo.language import DETAILED_PROMPTS, QUESTIONS, SHORT_PROMPTS, Statement, statement, yes_no
from factory.demo.scenes import Scene, Split, draw_scene, scene_image
from factory.demo.shared_prefix import by_length, encode_images, pixel_values, read, segments
from factory.demo.truth import CaptionVerdict, judge_caption_of

_IMAGES_AT_ONCE = 128
_TEXTS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a checkpoint does on unseen scenes. Shares and rates are in [0, 1]; None where nothing was there to count.

    ``wrong``: share of sentences that are not correct; ``errors``: share of detailed sentences with each error type
    (one sentence can have several); ``yes_no``: accuracy on the language's own statements, by error type of the false
    ones and "true"; ``own_auroc``: how well P(yes) tells the correct from the wrong sentences of the model's own
    captions, ``own_logprob_auroc``: the same for the mean log-probability of a sentence's tokens.
    """

    scenes: int
    detailed_sentences: int
    detailed_wrong: float
    detailed_unparsed: float
    detailed_captions_wrong: float
    errors: dict[str, float]
    short_wrong: float
    yes_no: float
    yes_no_by_kind: dict[str, float]
    sampled_sentences: int
    sampled_wrong: float
    own_auroc: float | None
    own_logprob_auroc: float | None

    def as_json(self) -> str:
        """The measurement as indented JSON with rounded rates."""
        rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}
        return json.dumps(rounded, indent=2)


def prepare_pixels(processor: Idefics3Processor, scenes: Sequence[Scene]) -> torch.Tensor:
    """The scenes' pictures as the serving processor prepares them, as the bytes it starts its last step from:
    uint8 (scenes, 3, side, side).
    """
    parts = []
    for start in range(0, len(scenes), _IMAGES_AT_ONCE):
        images = [[Image.open(BytesIO(scene_image(s))).convert("RGB")] for s in scenes[start : start + _IMAGES_AT_ONCE]]
        sized = processor.image_processor(images, do_rescale=False, do_normalize=False, return_tensors="pt")
        parts.append(sized["pixel_values"][:, 0].to(torch.uint8))
    return torch.cat(parts)


@torch.inference_mode()
def write_captions(
    model: Idefics3ForConditionalGeneration,
    processor: Idefics3Processor,
    pixels: torch.Tensor,
    prompt: str,
    temperature: float = 0.0,
    max_tokens: int = 80,
) -> list[str]:
    """One caption for each picture; greedy at temperature 0, else sampled from torch's random state."""
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}
    text = processor.apply_chat_template([message], add_generation_prompt=True)
    text = text.replace(
        processor.image_token,
        processor.fake_image_token
        + processor.global_image_tag
        + processor.image_token * processor.image_seq_len
        + processor.fake_image_token,
    )
    ids = torch.tensor(processor.tokenizer(text)["input_ids"])
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    captions: list[str] = []
    for part in pixels.split(_IMAGES_AT_ONCE):
        generated = model.generate(
            input_ids=ids.expand(len(part), -1),
            attention_mask=torch.ones((len(part), len(ids)), dtype=torch.long),
            pixel_values=pixel_values(processor, part).to(model.dtype),
            max_new_tokens=max_tokens,
            **sampling,
        )
        decoded = processor.tokenizer.batch_decode(generated[:, len(ids) :], skip_special_tokens=True)
        captions += [caption.strip() for caption in decoded]
    return captions


@torch.inference_mode()
def answer_logprobs(
    model: Idefics3ForConditionalGeneration,
    processor: Idefics3Processor,
    pixels: torch.Tensor,
    texts: Sequence[tuple[int, str, str]],
) -> list[list[float]]:
    """The log-probability (natural logarithm) of every token of each answer and of its end, for (picture, prompt,
    answer) triples.
    """
    results: list[list[float]] = [[] for _ in texts]
    order: dict[int, list[int]] = {}
    for number, (image, _, _) in enumerate(texts):
        order.setdefault(image // _IMAGES_AT_ONCE, []).append(number)
    for part, numbers in order.items():
        first = part * _IMAGES_AT_ONCE
        prefix = encode_images(model, processor, pixels[first : first + _IMAGES_AT_ONCE])
        made = segments(processor, [(texts[n][0] - first, *texts[n][1:]) for n in numbers])
        number_of = {id(segment): number for segment, number in zip(made, numbers, strict=True)}
        for group in by_length(made, _TEXTS_AT_ONCE):
            logits, targets = read(model, prefix, group).answers(model)
            chosen = logits.float().log_softmax(-1).gather(1, targets[:, None])[:, 0]
            for segment, values in zip(group, chosen.split([len(s.answer) for s in group]), strict=True):
                results[number_of[id(segment)]] = values.tolist()
    return results


def yes_probabilities(
    model: Idefics3ForConditionalGeneration,
    processor: Idefics3Processor,
    pixels: torch.Tensor,
    questions: Sequence[tuple[int, str]],
) -> list[float]:
    """P(yes) / (P(yes) + P(no)) for (picture, question) pairs."""
    both = [(image, question, answer) for image, question in questions for answer in ("yes", "no")]
    values = torch.tensor([tokens[0] for tokens in answer_logprobs(model, processor, pixels, both)]).view(-1, 2)
    return values.softmax(-1)[:, 0].tolist()


def measure(
    model: Idefics3ForConditionalGeneration, processor: Idefics3Processor, count: int, split: Split = "heldout"
) -> Measurement:
    """Measure a model on the first ``count`` scenes (seed 0) of a split."""
    scenes = [draw_scene(0, index, split) for index in range(count)]
    pixels = prepare_pixels(processor, scenes)
    rng = random.Random(0)

    detailed = _judge(write_captions(model, processor, pixels, DETAILED_PROMPTS[0]), scenes)
    sentences = [sentence for caption in detailed for sentence in caption.sentences]
    kinds = Counter(kind for sentence in sentences for kind in sentence.errors)
    short = [s for c in _judge(write_captions(model, processor, pixels, SHORT_PROMPTS[0]), scenes) for s in c.sentences]

    statements: list[tuple[int, Statement]] = [(i, statement(s, rng)) for i, s in enumerate(scenes) for _ in range(4)]
    asked = [(image, yes_no(about, rng).question) for image, about in statements]
    answers = yes_probabilities(model, processor, pixels, asked)
    right: dict[str, list[bool]] = {}
    for (_, about), probability in zip(statements, answers, strict=True):
        right.setdefault(about.error or "true", []).append((probability > 0.5) == about.true)

    torch.manual_seed(0)
    sampled = _judge(write_captions(model, processor, pixels, DETAILED_PROMPTS[0], temperature=0.7), scenes)
    own = [(image, sentence) for image, caption in enumerate(sampled) for sentence in caption.sentences]
    own_correct = [sentence.correct for _, sentence in own]
    own_asked = [(image, QUESTIONS[0].format(statement=sentence.text)) for image, sentence in own]
    own_yes = yes_probabilities(model, processor, pixels, own_asked)
    own_said = _sentence_logprobs(model, processor, pixels, sampled)

    return Measurement(
        scenes=count,
        detailed_sentences=len(sentences),
        detailed_wrong=_share(not s.correct for s in sentences),
        detailed_unparsed=_share(not s.parsed for s in sentences),
        detailed_captions_wrong=_share(not caption.correct for caption in detailed),
        errors={kind: round(kinds[kind] / max(1, len(sentences)), 4) for kind in ERROR_TYPES},
        short_wrong=_share(not s.correct for s in short),
        yes_no=_share(ok for oks in right.values() for ok in oks),
        yes_no_by_kind={kind: round(_share(right[kind]), 4) for kind in ("true", *ERROR_TYPES) if kind in right},
        sampled_sentences=len(own),
        sampled_wrong=_share(not correct for correct in own_correct),
        own_auroc=auroc(own_yes, own_correct),
        own_logprob_auroc=auroc(own_said, own_correct),
    )


def _sentence_logprobs(
    model: Idefics3ForConditionalGeneration,
    processor: Idefics3Processor,
    pixels: torch.Tensor,
    captions: Sequence[CaptionVerdict],
) -> list[float]:
    """The mean token log-probability of every sentence in its place in its caption (one caption for each picture)."""
    texts = [(i, DETAILED_PROMPTS[0], " ".join(s.text for s in c.sentences)) for i, c in enumerate(captions)]
    means = []
    for tokens, caption in zip(answer_logprobs(model, processor, pixels, texts), captions, strict=True):
        start = 0
        for sentence in caption.sentences:
            # A sentence's tokens are the same with and without its neighbours: words never merge across a space.
            end = start + len(processor.tokenizer(f" {sentence.text}")["input_ids"])
            means.append(sum(tokens[start:end]) / (end - start))
            start = end
    return means


def _judge(captions: Sequence[str], scenes: Sequence[Scene]) -> list[CaptionVerdict]:
    return [judge_caption_of(caption, scene) for caption, scene in zip(captions, scenes, strict=True)]


def _share(flags: Iterable[bool]) -> float:
    counted = list(flags)
    return sum(counted) / len(counted) if counted else 0.0


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """The probability that a random positive has a higher score than a random negative, ties counting half; None if
    one of the two is missing.
    """
    values = torch.tensor(scores, dtype=torch.float64)
    flags = torch.tensor(positive, dtype=torch.bool)
    high, low = values[flags], values[~flags].sort().values
    if not len(high) or not len(low):
        return None
    below = torch.searchsorted(low, high, right=False) + torch.searchsorted(low, high, right=True)
    return (below.double().mean() / (2 * len(low))).item()


def main() -> None:
    """Print the measurement of a checkpoint as JSON."""
    parser = argparse.ArgumentParser(description="Measure a demo checkpoint on unseen scenes.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    model, processor = load_checkpoint(parsed.checkpoint)
    print(measure(model.float(), processor, parsed.scenes).as_json())


if __name__ == "__main__":
    main()
