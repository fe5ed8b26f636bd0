"""A view: a captioner with a prompt pool, sampling and image settings."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AliasChoices, ConfigDict, Field, field_validator, model_validator

from factory.recipe.part import NAME_PATTERN, ORIGINAL, Part
from filters.asking.server import Server


class Prompt(Part):
    """One prompt of a view's pool."""

    text: str = Field(
        min_length=1,
        max_length=20_000,
        description="What the captioner is asked. '{original}' is replaced by the source's text; "
        "'{original|none given}' gives what stands there for images without text. An expert's name in braces, as {ocr}, is replaced by "
        "what it found; {ocr|no words} gives what stands there where that is nothing ('none' otherwise). {{word}} stands for {word}.",
    )
    weight: float = Field(default=1.0, gt=0, le=1e6, description="Relative weight in the pool.")
    id: str | None = Field(
        default=None, pattern=NAME_PATTERN, description="Stable name of the prompt; unset: p1, p2, ... by place."
    )


class Sampling(Part):
    """How text is sampled; the fields of vLLM's SamplingParams that change the text."""

    temperature: float = Field(default=0.0, ge=0, le=10, description="0 is greedy.")
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0, description="0: all tokens.")
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, le=10)
    presence_penalty: float = Field(
        default=0.0, ge=-2, le=2, description="Above 0, tokens that the answer has already become less likely."
    )
    max_tokens: int = Field(default=256, ge=1, description="Longest answer; longer ones are 'truncated'.")
    min_tokens: int = Field(default=0, ge=0, description="Tokens before which an answer cannot end.")
    n: int = Field(default=1, ge=1, le=64, description="Candidates per image.")
    stop: tuple[str, ...] = Field(default=(), description="Strings that end an answer.")
    stop_token_ids: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(), description="Tokens, as the tokenizer numbers them, that end an answer."
    )

    @model_validator(mode="after")
    def _ends_after_its_least(self) -> Sampling:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens: {self.min_tokens} is more than max_tokens: {self.max_tokens}")
        return self

    @model_validator(mode="after")
    def _candidates_differ(self) -> Sampling:
        if self.n > 1 and self.temperature == 0:
            raise ValueError(f"n: {self.n} greedy candidates would be the same text; set temperature above 0 or n: 1")
        return self


class ImageSettings(Part):
    """Which images are used, and how large they are sent."""

    max_pixels: int = Field(
        default=1_003_520, ge=1, le=89_478_485, description="Pixel budget of the image that is sent; aspect kept."
    )
    min_side: int = Field(default=8, ge=1, description="Shorter side of the source image in pixels.")
    max_aspect: float = Field(default=20.0, ge=1, description="Longer over shorter side.")
    max_source_pixels: int = Field(
        default=89_478_485, ge=1, description="Largest source image, checked before it is decoded (Pillow's own bound)."
    )
    max_bytes: int = Field(default=100_000_000, ge=1, description="Largest file in bytes.")
    background: str = Field(
        default="auto",
        description="What shines through transparent images: white, black, grey, a colour as '#rrggbb', or auto: white, "
        "unless the image is lost on it, as white writing is.",
    )

    @field_validator("background")
    @classmethod
    def _background_is_a_colour(cls, value: str) -> str:
        from filters.images.decoding.background import is_background

        if not is_background(value):
            raise ValueError(
                f"{value[:40]!r} is no background: write auto, white, black, grey, or a colour as '#rrggbb'"
            )
        return value.lower()


def of_the_user(value: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a chat template, less those that are not the user's to set. Raises ValueError."""
    owned = OWN_ARGUMENTS & value.keys()
    if owned:
        raise ValueError(f"{', '.join(sorted(owned))}: the factory sets this itself; it is no argument of a recipe")
    return value


AUTO: Final = "auto"
"""Of `reasoning`: the parser is found from the model."""
AS_IT_IS: Final = "none"
"""Of `reasoning`: nothing is parsed off."""
OWN_ARGUMENTS: Final = frozenset(
    {"messages", "conversation", "chat_template", "tools", "documents", "add_generation_prompt", "tokenize"}
    | {"continue_final_message", "return_dict", "return_tensors", "return_assistant_tokens_mask", "processor_kwargs"}
)
"""Names that mean something else to what renders a chat template, or that the factory gives itself."""
ChatTemplate = Annotated[dict[str, Any], AfterValidator(of_the_user)]


def _has_place(prompt: str, name: str) -> bool:
    """Whether a prompt has a place for a view's caption: {name}, or {name|what stands there without one}."""
    return re.search(r"\{" + re.escape(name) + r"(?:\|[^{}]*)?\}", prompt) is not None


MILLION: Final = 1_000_000


class Price(Part):
    """What a server asks for a million tokens, in whatever money: it is only added up."""

    input: float = Field(ge=0, description="For a million tokens of prompts, images included.")
    output: float = Field(ge=0, description="For a million tokens of answers, reasoning included.")

    def of(self, prompt_tokens: int, output_tokens: int) -> float:
        """The price of a request."""
        return (prompt_tokens * self.input + output_tokens * self.output) / MILLION


class ServedModel(Server):
    """A model behind a server with the OpenAI API."""

    name: str = Field(
        min_length=1,
        validation_alias=AliasChoices("name", "model"),
        description="The name by which the server knows the model.",
    )
    price: Price | None = Field(
        default=None, description="{input: ..., output: ...} for a million tokens; unset: costs are not counted."
    )

    @property
    def served_name(self) -> str:
        """The same."""
        return self.name


class View(Part):
    """One kind of caption: a captioner with a prompt pool and sampling; or, with `from`, a fusion of other views."""

    model_config = ConfigDict(serialize_by_alias=True)

    name: str = Field(pattern=NAME_PATTERN, description="Name of the view: self, detailed, spatial, ...")
    made_from: tuple[str, ...] = Field(
        default=(),
        alias="from",
        max_length=8,
        description="Makes the view a fusion: the views, or 'original', whose captions a language model makes one of. Its prompts "
        "name each in braces: '{original}', '{detailed}', or '{original|none}' where some images have none. No image is sent.",
    )
    fallback: str | None = Field(
        default=None,
        description="Of a fusion: whose caption stands where the fused one leaks, refuses or contradicts, or cannot be made. "
        "Unset: the first of `from` that is not 'original'.",
    )
    where: Literal["all", "missing"] = Field(
        default="all",
        description="Which images are captioned. missing: only those for which the source has no text of its own: a set that "
        "people captioned in part is filled up.",
    )
    model: str | ServedModel = Field(
        description="Hub id, local directory, or demo:small; or {endpoint: http://host:8000/v1, name: ...} of a server with the "
        "OpenAI API."
    )
    revision: str | None = Field(
        default=None,
        description="Commit, tag or branch of a Hub id; pin it. Of a model behind a server, whatever names the weights: captions "
        "are then known by it, and the server may move.",
    )
    lora: str | None = Field(default=None, description="LoRA adapter: local directory or Hub id.")
    lora_revision: str | None = Field(default=None, description="Commit, tag or branch of the adapter's Hub id.")
    system: str | None = Field(default=None, description="System prompt.")
    chat_template: ChatTemplate = Field(
        default_factory=dict,
        description="Arguments of the model's chat template, such as {enable_thinking: false}; which there are is the model's.",
    )
    reasoning: str = Field(
        default=AUTO,
        pattern=NAME_PATTERN,
        description="How the model's reasoning is told from its caption. auto: by vLLM's parser for the model, else by any "
        "known marks (<think> and other dialects); none: it is left in the caption; or the name of one of vLLM's reasoning parsers.",
    )
    prompts: tuple[Prompt, ...] = Field(
        min_length=1, description="The prompt pool, texts or prompts; one is drawn per image."
    )
    sampling: Sampling = Sampling()
    image: ImageSettings = ImageSettings()
    engine: dict[str, Any] = Field(default_factory=dict, description="Arguments passed through to vLLM's engine.")
    replicas: int | Literal["auto"] | tuple[int, int] = Field(
        default="auto", description="Engines: a number, 'auto' (one per GPU; one on CPU), or [min, max]."
    )
    timeout_s: float = Field(default=600.0, gt=0, description="Longest time one request may take, in seconds.")
    trust_remote_code: bool = Field(default=False, description="Run code that comes with the model. Dangerous.")
    without: Literal["caption", "skip"] = Field(
        default="caption",
        description="Images on which an expert that the prompt asks for failed: captioned without it ('unknown' stands there), or "
        "not this time.",
    )
    canary: bool = Field(
        default=True, description="Check at start that captions depend on the image and do not echo the prompt."
    )

    @field_validator(
        "prompts", mode="before", json_schema_input_type=str | Annotated[list[str | Prompt], Field(min_length=1)]
    )
    @classmethod
    def _plain_prompts(cls, value: Any) -> Any:
        """A prompt without a weight may be its text alone, and a pool of one that prompt."""
        listed = [value] if isinstance(value, (str, dict, Prompt)) else value
        if not isinstance(listed, (list, tuple)):
            return value
        return [{"text": one} if isinstance(one, str) else one for one in listed]

    @field_validator("replicas")
    @classmethod
    def _replicas_positive(cls, value: int | str | tuple[int, int]) -> int | str | tuple[int, int]:
        bounds = value if isinstance(value, tuple) else (value, value) if isinstance(value, int) else (1, 1)
        if not 1 <= bounds[0] <= bounds[1]:
            raise ValueError("replicas must be a number >= 1, 'auto', or [min, max] with 1 <= min <= max")
        return value

    @field_validator("engine")
    @classmethod
    def _engine_keys_not_owned(cls, value: dict[str, Any]) -> dict[str, Any]:
        owned = {"model", "revision", "trust_remote_code", "seed", "enable_lora", "tokenizer_revision"} & value.keys()
        if owned:
            raise ValueError(f"{', '.join(sorted(owned))}: set this in the view or the recipe, not under engine")
        return value

    @model_validator(mode="after")
    def _asks_a_server_for_what_it_has(self) -> View:
        if isinstance(self.model, str):
            return self
        here = {
            "lora": self.lora is not None,
            "engine": bool(self.engine),
            "replicas": self.replicas != "auto",
            "trust_remote_code": self.trust_remote_code,
            "reasoning": self.reasoning not in (AUTO, AS_IT_IS),
        }
        wrong = [name for name, is_set in here.items() if is_set]
        if wrong:
            raise ValueError(
                f"{', '.join(wrong)}: this is the server's to set, where it starts its model ({self.model.endpoint}); leave it out"
            )
        return self

    @model_validator(mode="after")
    def _fuses_what_it_names(self) -> View:
        if not self.made_from:
            if self.fallback is not None:
                raise ValueError("fallback: only a fusion has one; name the views that it is made of with from: [...]")
            return self
        if self.where != "all":
            raise ValueError("where: a fusion is made wherever its inputs are; write {original|none} in its prompts")
        if len(set(self.made_from)) != len(self.made_from):
            raise ValueError("from: each view may be named once")
        if self.fallback is not None and self.fallback not in self.made_from:
            raise ValueError(f"fallback: '{self.fallback}' is not among from: {', '.join(self.made_from)}")
        if self.image != ImageSettings():
            raise ValueError("image: a fusion is shown no image; leave it out")
        for place, prompt in enumerate(self.prompts):
            missing = [name for name in self.made_from if not _has_place(prompt.text, name)]
            if missing:
                raise ValueError(
                    f"prompts.{place}: it has no place for {', '.join('{' + name + '}' for name in missing)}; a fusion's prompts "
                    "name all that it is made from"
                )
        return self

    @property
    def unfused(self) -> str | None:
        """Of a fusion: the view whose caption stands where the fused one does not."""
        if self.fallback is not None or not self.made_from:
            return self.fallback
        return next((name for name in self.made_from if name != ORIGINAL), self.made_from[0])

    @property
    def model_name(self) -> str:
        """The model's name, wherever it is served."""
        return self.model if isinstance(self.model, str) else self.model.name

    @property
    def server(self) -> ServedModel | None:
        """The server that its model is behind; None where the factory serves it."""
        return None if isinstance(self.model, str) else self.model

    @model_validator(mode="after")
    def _prompt_ids_unique(self) -> View:
        ids = self.prompt_ids()
        if len(set(ids)) != len(ids):
            raise ValueError("prompts: ids must be unique")
        return self

    def prompt_ids(self) -> tuple[str, ...]:
        """The id of each prompt: its own, or its place (p1, p2, ...)."""
        return tuple(prompt.id or f"p{place}" for place, prompt in enumerate(self.prompts, start=1))


ORIGINAL_IMAGE: Final = ImageSettings(max_pixels=65_536, min_side=1, max_aspect=100_000)
"""How their images are looked at: can they be read, and how large are they? Nothing is captioned, so nothing is too small."""
