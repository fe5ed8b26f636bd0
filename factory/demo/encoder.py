"""The tiny dual encoder's checkpoint folder: a CLIP-architecture model that puts pictures and sentences of the demo world
into one space, so that the alignment filter runs without a download.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from factory.demo.checkpoint import BEGIN, IMAGE_MEAN, IMAGE_SIDE, IMAGE_STD, PAD, PATCH_SIDE, VOCABULARY, new_tokenizer

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPProcessor

TEXT_TOKENS = 48
END_OF_TEXT = "<|endoftext|>"
"""Not the VLM's end token: CLIP's architecture gives the number that one has another meaning."""


@dataclass(frozen=True, slots=True)
class EncoderArchitecture:
    """The sizes of both towers, which have one width; ``projection``: of the space they share."""

    hidden: int = 128
    feed_forward: int = 256
    vision_layers: int = 4
    text_layers: int = 3
    projection: int = 192


def new_encoder(architecture: EncoderArchitecture, processor: CLIPProcessor) -> CLIPModel:
    """An untrained float32 model of that architecture; torch's random state decides its weights."""
    from transformers import CLIPConfig, CLIPModel

    tower = {
        "hidden_size": architecture.hidden,
        "intermediate_size": architecture.feed_forward,
        "num_attention_heads": architecture.hidden // 32,
        "projection_dim": architecture.projection,
    }
    tokenizer = processor.tokenizer
    config = CLIPConfig(
        text_config={
            **tower,
            "num_hidden_layers": architecture.text_layers,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": TEXT_TOKENS,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            **tower,
            "num_hidden_layers": architecture.vision_layers,
            "image_size": IMAGE_SIDE,
            "patch_size": PATCH_SIDE,
        },
        projection_dim=architecture.projection,
    )
    return CLIPModel(config)


def new_encoder_processor() -> CLIPProcessor:
    """The demo world's tokenizer, and image preprocessing that squeezes every picture into a square: nothing is cut off."""
    from tokenizers.processors import TemplateProcessing
    from transformers import CLIPProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = new_tokenizer()
    assert len(tokenizer) <= VOCABULARY
    tokenizer.add_special_tokens({"eos_token": END_OF_TEXT, "bos_token": BEGIN, "pad_token": PAD})
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{BEGIN} $A {END_OF_TEXT}", special_tokens=[(BEGIN, begin), (END_OF_TEXT, end)]
    )
    tokenizer.model_max_length = TEXT_TOKENS
    images = CLIPImageProcessorPil(
        size={"height": IMAGE_SIDE, "width": IMAGE_SIDE},
        do_center_crop=False,
        image_mean=[IMAGE_MEAN] * 3,
        image_std=[IMAGE_STD] * 3,
    )
    return CLIPProcessor(images, tokenizer)


def save_encoder(model: CLIPModel, processor: CLIPProcessor, folder: Path) -> None:
    """Write the model (as bfloat16, without changing the one in memory), its processor and tokenizer to a folder."""
    import copy

    import torch

    folder.mkdir(parents=True, exist_ok=True)
    saved = copy.deepcopy(model).to(torch.bfloat16)
    saved.config.dtype = torch.bfloat16
    saved.save_pretrained(folder)
    processor.save_pretrained(folder)


def load_encoder(folder: Path) -> tuple[CLIPModel, CLIPProcessor]:
    """The model, in float32 and ready to run, and its processor from a checkpoint folder."""
    import torch
    from transformers import AutoProcessor, CLIPModel

    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoProcessor.from_pretrained(folder, backend="pil")
