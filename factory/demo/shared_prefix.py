"""Many texts about one image for the price of one image: the image is encoded once, each text continues from there.

The chat template puts the image first, so all conversations about an image begin alike. Their common beginning goes
through the vision tower and the language model once; its keys and values are then repeated for every text. A text
sees the image and itself, never another text, exactly as when it is served alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, Idefics3ForConditionalGeneration, Idefics3Processor

from factory.demo.checkpoint import END


@dataclass(frozen=True, slots=True)
class Segment:
    """One text about image number ``image`` of the batch: what follows the image in the prompt, and the answer.

    Both are token ids; the answer includes the end of utterance.
    """

    image: int
    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True, slots=True)
class ImagePrefix:
    """The image tokens, (images, image tokens, hidden), and of the whole common beginning the keys and values, each
    (images, heads, tokens, head size), per layer.
    """

    features: torch.Tensor
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    @property
    def tokens(self) -> int:
        """How many tokens the common beginning has."""
        return self.layers[0][0].shape[2]


def prefix_ids(processor: Idefics3Processor) -> list[int]:
    """The token ids of the common beginning: everything up to and with the image."""
    image = processor.fake_image_token + processor.global_image_tag
    image += processor.image_token * processor.image_seq_len + processor.fake_image_token
    return processor.tokenizer(f"{processor.tokenizer.bos_token}User:{image}")["input_ids"]


def segments(processor: Idefics3Processor, texts: Sequence[tuple[int, str, str]]) -> list[Segment]:
    """(image number in the batch, prompt, answer) triples as the tokens of the chat template."""
    prompts = processor.tokenizer([f"{prompt}{END}\nAssistant:" for _, prompt, _ in texts])["input_ids"]
    answers = processor.tokenizer([f" {answer}{END}" for _, _, answer in texts])["input_ids"]
    return [Segment(image, *ids) for (image, _, _), *ids in zip(texts, prompts, answers, strict=True)]


def pixel_values(processor: Idefics3Processor, pixels: torch.Tensor) -> torch.Tensor:
    """What the image processor makes of pictures of the right size: float32 (images, 1, 3, side, side) of their bytes,
    uint8 (images, 3, side, side).
    """
    mean = torch.tensor(processor.image_processor.image_mean).view(3, 1, 1)
    std = torch.tensor(processor.image_processor.image_std).view(3, 1, 1)
    return ((pixels / 255.0 - mean) / std)[:, None]


def encode_images(
    model: Idefics3ForConditionalGeneration, processor: Idefics3Processor, pixels: torch.Tensor
) -> ImagePrefix:
    """The common beginnings for a batch of pictures; ``pixels``: uint8 (images, 3, side, side)."""
    values = pixel_values(processor, pixels)
    features = model.model.get_image_features(values, return_dict=True).pooler_output
    ids = torch.tensor(prefix_ids(processor))
    embedded = model.get_input_embeddings()(ids).expand(len(pixels), -1, -1)
    slots = (ids == model.config.image_token_id)[None, :, None].expand_as(embedded)
    embedded = embedded.masked_scatter(slots, features.to(embedded.dtype))
    cache = DynamicCache()
    model.model.text_model(inputs_embeds=embedded, past_key_values=cache, use_cache=True)
    return ImagePrefix(features, tuple((layer.keys, layer.values) for layer in cache.layers))


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model makes of a group of segments: ``states`` (segments, tokens, hidden) before the language model's
    head, and the ``ids`` (segments, tokens) they read, padded at the end.
    """

    segments: Sequence[Segment]
    ids: torch.Tensor
    states: torch.Tensor

    def answers(self, model: Idefics3ForConditionalGeneration) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (answer tokens, vocabulary) that predict the answers' tokens, and these tokens (answer tokens,),
        segment after segment.
        """
        return self._predictions(model, [(len(s.prompt), len(s.prompt) + len(s.answer)) for s in self.segments])

    def prompts(self, model: Idefics3ForConditionalGeneration, of: list[bool]) -> tuple[torch.Tensor, torch.Tensor]:
        """The same for the tokens of the prompts, but their first, of the segments for which ``of`` is true."""
        spans = zip(self.segments, of, strict=True)
        return self._predictions(model, [(1, len(s.prompt)) if wanted else (1, 1) for s, wanted in spans])

    def _predictions(
        self, model: Idefics3ForConditionalGeneration, spans: list[tuple[int, int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        predicts = torch.zeros_like(self.ids, dtype=torch.bool)
        for row, (start, end) in enumerate(spans):
            predicts[row, start - 1 : end - 1] = True
        return model.lm_head(self.states[predicts]), torch.roll(self.ids, -1, dims=1)[predicts]


def read(model: Idefics3ForConditionalGeneration, prefix: ImagePrefix, group: Sequence[Segment]) -> Reading:
    """Let the model read the segments, each after the image it is about."""
    lengths = [len(s.prompt) + len(s.answer) for s in group]
    longest = max(lengths)
    ids = torch.zeros((len(group), longest), dtype=torch.long)
    for row, (segment, length) in enumerate(zip(group, lengths, strict=True)):
        ids[row, :length] = torch.tensor(segment.prompt + segment.answer)

    images = torch.tensor([s.image for s in group])
    cache = DynamicCache()
    for number, (keys, values) in enumerate(prefix.layers):
        cache.update(keys.index_select(0, images), values.index_select(0, images), number)
    # Every text token sees the whole image and the text so far. Padding is at the end, where no one looks.
    mask = torch.full((longest, prefix.tokens + longest), torch.finfo(torch.float32).min).triu(prefix.tokens + 1)
    states = model.model.text_model(
        inputs_embeds=model.get_input_embeddings()(ids),
        attention_mask=mask[None, None],
        position_ids=torch.arange(prefix.tokens, prefix.tokens + longest)[None],
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return Reading(group, ids, states)


def by_length(group: Sequence[Segment], size: int) -> list[list[Segment]]:
    """The segments in groups of at most ``size`` of like length, so that little is padding."""
    ordered = sorted(group, key=lambda s: len(s.prompt) + len(s.answer))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]
