"""The tiny VLM's checkpoint folder: its architecture, tokenizer and processor, and where the shipped one lies."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from factory.demo.language import (
    CONTEXT_PROMPTS,
    DETAILED_PROMPTS,
    QUESTIONS,
    SHORT_PROMPTS,
    detailed_caption,
    open_question,
    short_caption,
    statement,
    yes_no,
)
from factory.demo.scenes import draw_scene
from factory.demo.source_row import web_text

if TYPE_CHECKING:  # transformers takes seconds to import; asking where the checkpoint lies should not
    from transformers import Idefics3ForConditionalGeneration, Idefics3Processor, PreTrainedTokenizerFast

IMAGE_SIDE = 64
PATCH_SIDE = 8
IMAGE_TOKENS = 16
# The backgrounds are light: with this mean they come out near zero and the shapes stand out. With the usual 0.5 a model
# of this size takes several times as long before it sees anything.
IMAGE_MEAN, IMAGE_STD = 0.9, 0.25
VOCABULARY = 1024
CONTEXT_TOKENS = 1024

BEGIN, END, PAD = "<|im_start|>", "<end_of_utterance>", "<pad>"
_SPECIAL_TOKENS = (PAD, BEGIN, END, "<fake_token_around_image>", "<image>", "<global-img>")

# As Idefics3's and SmolVLM's, but the image comes before the text in whatever order a message holds them, as in
# training.
CHAT_TEMPLATE = (
    "<|im_start|>{% for message in messages %}"
    "{{ message['role'] | capitalize }}:"
    "{% if message['content'] is string %}{{ ' ' + message['content'] }}{% else %}"
    "{% set ns = namespace(images=0) %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{% set ns.images = ns.images + 1 %}"
    "{{ '<image>' }}{% endif %}{% endfor %}"
    "{% if not ns.images %}{{ ' ' }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes of the model. ``hidden`` is a multiple of 32, the head size: the CPU engine's attention kernels refuse
    some others, such as 24.
    """

    hidden: int = 96
    feed_forward: int = 256
    vision_layers: int = 3
    text_layers: int = 4


def checkpoint_path(name: str = "small") -> Path:
    """The folder of a shipped checkpoint. Raises FileNotFoundError for an unknown name."""
    path = Path(__file__).parent / "checkpoints" / name
    if not (path / "config.json").is_file():
        shipped = sorted(folder.name for folder in path.parent.glob("*") if folder.is_dir())
        raise FileNotFoundError(
            f"no demo checkpoint {name!r}; shipped with this package: {', '.join(shipped) or 'none'}"
        )
    return path


def new_model(architecture: Architecture, tokenizer: PreTrainedTokenizerFast) -> Idefics3ForConditionalGeneration:
    """An untrained float32 model of that architecture; torch's random state decides its weights."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    heads = architecture.hidden // 32
    spread = 0.8 / architecture.hidden**0.5  # the usual 0.02 suits models ten times as wide
    special = {
        "pad_token_id": tokenizer.convert_tokens_to_ids(PAD),
        "bos_token_id": tokenizer.convert_tokens_to_ids(BEGIN),
        "eos_token_id": tokenizer.convert_tokens_to_ids(END),
    }
    config = Idefics3Config(
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        tie_word_embeddings=True,
        vision_config={
            "hidden_size": architecture.hidden,
            "intermediate_size": architecture.feed_forward,
            "num_hidden_layers": architecture.vision_layers,
            "num_attention_heads": heads,
            "image_size": IMAGE_SIDE,
            "patch_size": PATCH_SIDE,
            "initializer_range": spread,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": VOCABULARY,
            "hidden_size": architecture.hidden,
            "intermediate_size": architecture.feed_forward,
            "num_hidden_layers": architecture.text_layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "head_dim": 32,
            "max_position_embeddings": CONTEXT_TOKENS,
            "rms_norm_eps": 1e-5,
            "initializer_range": spread,
            "tie_word_embeddings": True,
            **special,
        },
        **special,
    )
    config._attn_implementation = "sdpa"
    return Idefics3ForConditionalGeneration(config)


def new_processor() -> Idefics3Processor:
    """The tokenizer, learned from the demo world's own language, and the image preprocessing, as one processor."""
    from transformers import Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    image_processor = Idefics3ImageProcessorPil(
        do_image_splitting=False,
        size={"longest_edge": IMAGE_SIDE},
        max_image_size={"longest_edge": IMAGE_SIDE},
        image_mean=[IMAGE_MEAN] * 3,
        image_std=[IMAGE_STD] * 3,
    )
    tokenizer = new_tokenizer()
    return Idefics3Processor(image_processor, tokenizer, image_seq_len=IMAGE_TOKENS, chat_template=CHAT_TEMPLATE)


def new_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: every text can be tokenized and comes back unchanged; the demo world's own words are
    one token each.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, normalized=False, special=True) for token in _SPECIAL_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(_corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT_TOKENS,
    )


def _corpus() -> Iterator[str]:
    rng = random.Random("tokenizer corpus")
    for index in range(1500):
        scene = draw_scene(0, index, "train")
        asked = (yes_no(statement(scene, rng), rng), open_question(scene, rng))
        yield from (f" {detailed_caption(scene, rng)}", f" {short_caption(scene, rng)}", web_text(scene) or "")
        for exchange in asked:
            yield from (exchange.question, f" {exchange.answer}", exchange.answer.capitalize())
    for prompt in (*DETAILED_PROMPTS, *SHORT_PROMPTS, *CONTEXT_PROMPTS, *QUESTIONS, "User:", "\nAssistant:"):
        yield from [prompt] * 30
    yield from [_COMMON_WORDS] * 20


# So that prompts the model was not trained on still fall into words rather than letters.
_COMMON_WORDS = (
    "Yes No yes no None True False the a an of and or in on at to is are was be this that it its with without for from "
    "by as not no any all each every one two three four five only also very more most less than then there here where "
    "which what who how many much when why please answer question write list name say tell give show shows visible "
    "image picture photo figure drawing caption sentence sentences word words text letters printed written read "
    "object objects thing things shape shapes colour color colours colors size place position background left right "
    "top bottom middle center above below beside between near next large small big tiny describe description detail "
    "details detailed brief briefly short long exactly following correct wrong accurate original alt page web site"
)


def save_checkpoint(model: Idefics3ForConditionalGeneration, processor: Idefics3Processor, folder: Path) -> None:
    """Write the model (as bfloat16, without changing the one in memory), its processor and tokenizer to a folder."""
    import copy

    import torch

    folder.mkdir(parents=True, exist_ok=True)
    saved = copy.deepcopy(model).to(torch.bfloat16)
    saved.config.dtype = torch.bfloat16
    saved.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    saved.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    saved.generation_config.bos_token_id = processor.tokenizer.bos_token_id
    saved.save_pretrained(folder)
    processor.save_pretrained(folder)


def load_checkpoint(folder: Path) -> tuple[Idefics3ForConditionalGeneration, Idefics3Processor]:
    """The model (in the bfloat16 it is stored in, ready to run) and its processor from a checkpoint folder."""
    from transformers import AutoProcessor, Idefics3ForConditionalGeneration

    model = Idefics3ForConditionalGeneration.from_pretrained(folder, dtype="auto").eval()
    return model, AutoProcessor.from_pretrained(folder)
