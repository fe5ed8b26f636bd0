"""How a model is trained from a release."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from factory.recipe.loading import parse_part, with_overrides
from factory.recipe.part import Part
from factory.recipe.yaml_text import RecipeText, read_yaml

ModelPart = Literal["tower", "connector", "language"]


class Lora(Part):
    """Low-rank adapters instead of whole weights, on every linear layer of the trained parts (arXiv 2106.09685)."""

    rank: int = Field(default=16, ge=1, le=4096, description="Rank of the update.")
    alpha: float = Field(default=32, gt=0, description="Scale; the update counts alpha / rank times.")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    merge: bool = Field(
        default=True,
        description="Write whole weights. false: the adapter alone, for a view's `lora:`; the language model only, because "
        "engines ignore an adapter of the tower without a word.",
    )


class Training(Part):
    """One training: what it begins from, what it learns, for how long."""

    start: str = Field(
        default="demo:base", min_length=1, description="Model to begin from: directory, Hub id (org/name) or demo:base."
    )
    start_revision: str | None = Field(default=None, description="Commit, tag or branch of a Hub id.")
    method: Literal["sft", "dpo"] = Field(
        default="sft",
        description="sft: the released captions are learned. dpo: that they are preferred to a rejected caption of the same image and "
        "prompt (arXiv 2305.18290); `learn` needs a release whose selection turned candidates down.",
    )
    beta: float = Field(default=0.1, gt=0, description="Of dpo: how near the model stays to where it began.")
    init: Literal["base", "scratch"] = Field(
        default="base",
        description="base: the weights of `start`. scratch: its config alone, weights drawn from the seed.",
    )
    train: tuple[ModelPart, ...] = Field(
        default=("connector", "language"), min_length=1, description="Parts that learn; the others stay as they are."
    )
    lora: Lora | None = Field(default=None, description="Train adapters; unset: all weights of the parts.")
    view: str | None = Field(
        default=None,
        description="View whose kept captions are learned ('original': the source's); unset: the released ones.",
    )
    steps: int | None = Field(default=None, ge=1, description="Optimizer steps.")
    epochs: float | None = Field(default=None, gt=0, description="Instead of steps; 1 where neither is set.")
    batch: int = Field(default=32, ge=1, description="Rows of a step, over all workers.")
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="Rows that a worker computes at once; smaller needs less memory. Unset: its whole share.",
    )
    lr: float = Field(default=2e-4, gt=0, le=10, description="Highest learning rate.")
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = Field(
        default="cosine", description="After the warm-up."
    )
    warmup: float = Field(default=0.03, ge=0, description="Below 1: share of the steps; else steps.")
    weight_decay: float = Field(default=0.0, ge=0)
    max_pixels: int = Field(
        default=1_003_520, ge=1, le=89_478_485, description="Pixel budget of an image, as `image.max_pixels` of a view."
    )
    validation: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Share of the images set aside; the checkpoint with the least loss on them is kept.",
    )
    checkpoint_every: int | None = Field(
        default=None, ge=1, description="Steps between checkpoints; unset: ten in all."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="Arithmetic. auto: bfloat16 on GPUs and on processors made for it, else float32."
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        default="auto",
        description="How attention is computed. auto: eager on processors, where the backward pass of the fused one is several "
        "times slower for texts of some hundred tokens; on GPUs what the model prefers.",
    )
    workers: int | Literal["auto"] = Field(default="auto", description="Training processes; auto: one a GPU, or one.")
    readers: int = Field(default=0, ge=0, description="Processes of each worker that prepare images.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Of new weights, order and validation.")
    report_to: tuple[str, ...] = Field(default=(), description="Where metrics go too: wandb, mlflow, tensorboard, ...")
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="Other arguments of TRL's SFTConfig, such as fsdp, deepspeed or gradient_checkpointing.",
    )
    command: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Another trainer, as a list of words; {release}, {sft} (a directory that `datasets` reads), {start}, {to} "
        "and {seed} are filled in. It writes a checkpoint to {to}.",
    )

    @field_validator("workers")
    @classmethod
    def _some_workers(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError(f"{value} workers; at least 1, or auto")
        return value

    @model_validator(mode="after")
    def _belongs_together(self) -> Training:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("steps and epochs both say how long; set one")
        if len(set(self.train)) != len(self.train):
            raise ValueError("train: each part may be named once")
        if self.lora is not None and not self.lora.merge and self.train != ("language",):
            raise ValueError(
                "lora.merge: an adapter that is not merged may train the language model alone (train: [language])"
            )
        if self.init == "scratch" and self.lora is not None:
            raise ValueError("lora: adapters on weights that were never trained; set init: base, or lora: null")
        if self.method == "dpo" and self.init == "scratch":
            raise ValueError("method: dpo begins from a model that captions; set init: base")
        if self.command is not None and not any("{to}" in word for word in self.command):
            raise ValueError("command: one word holds {to}, where the checkpoint is expected")
        return self


def load_training(path: str | None, overrides: tuple[str, ...] = ()) -> Training:
    """Read a file of training settings (None: the defaults) and apply `--set` overrides.

    Raises RecipeError: everything that is wrong with it, each with file and line and what to do.
    """
    text = read_yaml(path) if path else RecipeText("the training", {})
    return with_overrides(text, overrides, lambda changed: parse_part(changed, Training))
