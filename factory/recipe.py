"""The recipe: one YAML file that says everything a run does. Its models and how a file becomes one.

A recipe is untrusted input: YAML is read without object tags, with bounded size, depth and alias expansion
(`factory/recipe_yaml.py`). Unknown keys are errors, and every error names the file, the line and, where one is near,
the key that was probably meant.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from factory.errors import RecipeError
from factory.models.resolve import filter_params
from factory.recipe_yaml import RecipeText, read_yaml, set_value

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
TEMPLATE_FIELD = re.compile(r"\{([A-Za-z0-9][A-Za-z0-9._-]*)\}")
CALIBRATION = "calibration:"
"""Starts a reference to a calibration of the run: calibration:NAME-vN."""
CALIBRATION_PATTERN = re.compile(r"calibration:[A-Za-z0-9][A-Za-z0-9._-]*-v[1-9]\d*")
STACK = "stack"
"""Stands for the score of the stack that a calibration holds, where `require` names its threshold."""
SEMVER_PATTERN = r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$"


class Part(BaseModel):
    """Common rules of every recipe part: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# --- sources ---------------------------------------------------------------------------------------------------------


class FolderSource(Part):
    """Images in a folder, searched recursively; the image key is the path relative to the folder.

    Captions come from `metadata.jsonl` or `metadata.csv` (`file_name` and a text column, as in `datasets`' imagefolder)
    or from `.txt` / `.json` files beside the images. Every other file is a row, also one that is no image.
    """

    kind: Literal["folder"]
    path: str = Field(description="Folder, local or any fsspec URL (s3://..., hf://...).")
    text: str | None = Field(
        default=None,
        description="Column of metadata.jsonl/.csv or key of .json that holds the caption; unset: 'text', then 'caption'.",
    )
    fields: tuple[str, ...] = Field(
        default=(), description="Columns of metadata.jsonl/.csv to carry into the release, such as url or license."
    )


class ParquetSource(Part):
    """Parquet files with an image column: bytes, struct<bytes, path>, or a path relative to `root`."""

    kind: Literal["parquet"]
    path: str = Field(description="File, folder or glob, local or any fsspec URL.")
    image: str = Field(default="image", description="Column with the image.")
    text: str | None = Field(default=None, description="Column with the original text.")
    key: str | None = Field(
        default=None, description="Column with a stable unique id; unset: sha256 of the image bytes."
    )
    fields: tuple[str, ...] = Field(
        default=(), description="Columns to carry into the release, such as url or license."
    )
    root: str | None = Field(default=None, description="Where path columns start; unset: the folder of the file.")


class WebDatasetSource(Part):
    """WebDataset tars: members that share a name up to the first dot are one sample."""

    kind: Literal["webdataset"]
    path: str = Field(description="Tar, glob or {00000..00099} braces, local or any fsspec URL.")
    image: str = Field(
        default="jpg;jpeg;png;webp;gif;bmp;tif;tiff;avif;jp2;img",
        description="Extensions that hold the image, best first, joined by ';'.",
    )
    text: str | None = Field(
        default=None, description="Extension of the original text ('txt'), or 'json.FIELD'; unset: none."
    )
    key: str | None = Field(
        default=None, description="'json.FIELD' with a stable unique id; unset: tar name and member name."
    )
    fields: tuple[str, ...] = Field(
        default=(), description="Fields of the samples' JSON to carry into the release, such as url or license."
    )


class HuggingFaceSource(Part):
    """A Hugging Face dataset, from the Hub or from disk. Image bytes are never re-encoded."""

    kind: Literal["huggingface"]
    path: str = Field(description="Hub id (org/name) or a local directory.")
    revision: str | None = Field(default=None, description="Commit, tag or branch; needed for a Hub id.")
    config: str | None = Field(default=None, description="Configuration name.")
    split: str = Field(default="train", description="Split to read.")
    image: str = Field(default="image", description="Image column.")
    text: str | None = Field(default=None, description="Column with the original text.")
    key: str | None = Field(
        default=None, description="Column with a stable unique id; unset: sha256 of the image bytes."
    )
    fields: tuple[str, ...] = Field(
        default=(), description="Columns to carry into the release, such as url or license."
    )


class CaptionsSource(Part):
    """Captions without images: Parquet, JSON lines, CSV, or plain text with a caption a line."""

    kind: Literal["captions"]
    path: str = Field(
        description="File (.parquet, .jsonl, .csv, .txt; .gz too), folder or glob, local or any fsspec URL."
    )
    text: str | None = Field(default=None, description="Column with the caption; unset: 'text', then 'caption'.")
    key: str | None = Field(default=None, description="Column with a stable unique id; unset: a hash of file and text.")
    fields: tuple[str, ...] = Field(
        default=(), description="Columns to carry into the release, such as url or license."
    )


class DemoSource(Part):
    """The demo world: small drawn scenes, no download."""

    kind: Literal["demo"]
    scenes: int = Field(default=512, ge=1, le=100_000_000, description="How many scenes.")
    seed: int = Field(default=0, ge=0, description="Which world.")


Source = Annotated[
    Union[FolderSource, ParquetSource, WebDatasetSource, HuggingFaceSource, CaptionsSource, DemoSource],
    Field(discriminator="kind"),
]


# --- views -----------------------------------------------------------------------------------------------------------


class Prompt(Part):
    """One prompt of a view's pool."""

    text: str = Field(
        min_length=1,
        max_length=20_000,
        description="What the captioner is asked. '{original}' is replaced by the source's text; "
        "'{original|none given}' gives what stands there for images without text.",
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
    max_tokens: int = Field(default=256, ge=1, description="Longest answer; longer ones are 'truncated'.")
    n: int = Field(default=1, ge=1, le=64, description="Candidates per image.")
    stop: tuple[str, ...] = Field(default=(), description="Strings that end an answer.")

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


class View(Part):
    """One kind of caption: a captioner with a prompt pool and sampling."""

    name: str = Field(pattern=NAME_PATTERN, description="Name of the view: self, detailed, spatial, ...")
    model: str = Field(min_length=1, description="Hub id, local directory, or demo:small.")
    revision: str | None = Field(default=None, description="Commit, tag or branch of a Hub id; pin it.")
    lora: str | None = Field(default=None, description="LoRA adapter: local directory or Hub id.")
    lora_revision: str | None = Field(default=None, description="Commit, tag or branch of the adapter's Hub id.")
    system: str | None = Field(default=None, description="System prompt.")
    prompts: tuple[Prompt, ...] = Field(min_length=1, description="The prompt pool; one is drawn per image.")
    sampling: Sampling = Sampling()
    image: ImageSettings = ImageSettings()
    engine: dict[str, Any] = Field(default_factory=dict, description="Arguments passed through to vLLM's engine.")
    replicas: int | Literal["auto"] | tuple[int, int] = Field(
        default="auto", description="Engines: a number, 'auto' (one per GPU; one on CPU), or [min, max]."
    )
    timeout_s: float = Field(default=600.0, gt=0, description="Longest time one request may take, in seconds.")
    trust_remote_code: bool = Field(default=False, description="Run code that comes with the model. Dangerous.")
    canary: bool = Field(
        default=True, description="Check at start that captions depend on the image and do not echo the prompt."
    )

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
    def _prompt_ids_unique(self) -> View:
        ids = self.prompt_ids()
        if len(set(ids)) != len(ids):
            raise ValueError("prompts: ids must be unique")
        return self

    def prompt_ids(self) -> tuple[str, ...]:
        """The id of each prompt: its own, or its place (p1, p2, ...)."""
        return tuple(prompt.id or f"p{place}" for place, prompt in enumerate(self.prompts, start=1))


# --- selection and release -------------------------------------------------------------------------------------------


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and CALIBRATION_PATTERN.fullmatch(value) is not None


def _least(name: str, value: Any) -> float | str:
    """A score in [0, 1], or the threshold of a calibration."""
    if _is_reference(value):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name}: the least score is a number, or {CALIBRATION}NAME-vN; got {value!r}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: scores are between 0 and 1, got {value}")
    return float(value)


_LeastInFile = Annotated[float, Field(ge=0, le=1)] | Annotated[str, Field(pattern=f"^{CALIBRATION_PATTERN.pattern}$")]


class KeepTop(Part):
    """The best share by one score; a number alone is `share`."""

    share: float = Field(gt=0, le=1, description="Share of the captions that still stand to keep, best first (0-1].")
    by: tuple[Literal["view", "length"], ...] = Field(
        default=("view",), description="The share of each of these: of each view, of each length bucket, or of both."
    )


class Select(Part):
    """The rules that turn scores into kept / dropped(reason), applied in the order of the fields."""

    accept: tuple[Literal["ok", "truncated"], ...] = Field(
        default=("ok",), min_length=1, description="Caption states that may be kept."
    )
    require: dict[str, float | str] = Field(
        default_factory=dict,
        description="filter: least score, a number or the threshold of a calibration of this run "
        "(calibration:NAME-vN); 'stack: calibration:NAME-vN' requires its stacked score.",
    )
    keep_unscored: tuple[str, ...] = Field(
        default=(), description="Filters of `require` that let a caption pass which they cannot judge (no score)."
    )
    keep_top: dict[str, KeepTop] = Field(
        default_factory=dict,
        description="filter (or calibration:NAME-vN): share of the captions of each view to keep, best first (0-1], or "
        "{share: 0.3, by: [view, length]}.",
    )
    dedup: tuple[Literal["exact"], ...] = Field(
        default=(), description="exact: of captions with the same text (case and spacing aside), keep one."
    )
    best_of: str | None = Field(
        default=None, description="Filter (or calibration:NAME-vN) that picks one candidate per image and view."
    )
    budget: int | None = Field(default=None, ge=1, description="Most images to keep, drawn by seed.")

    @field_validator("require", mode="before", json_schema_input_type=dict[str, _LeastInFile])
    @classmethod
    def _least_scores(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if STACK in value and not _is_reference(value[STACK]):
            raise ValueError(f"{STACK}: write {STACK}: {CALIBRATION}NAME-vN; only a calibration says what a stack is")
        return {name: _least(name, least) for name, least in value.items()}

    @field_validator("keep_top", mode="before", json_schema_input_type=dict[str, float | KeepTop])
    @classmethod
    def _shares_alone(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        is_share = {name: isinstance(top, (int, float)) and not isinstance(top, bool) for name, top in value.items()}
        return {name: {"share": top} if is_share[name] else top for name, top in value.items()}

    @property
    def filters(self) -> list[str]:
        """The filters that the rules name themselves; a calibration may read others."""
        named = [*self.require, *self.keep_top, *([self.best_of] if self.best_of else [])]
        return [name for name in dict.fromkeys(named) if name != STACK and not _is_reference(name)]

    @property
    def calibrations(self) -> list[str]:
        """The calibrations that the rules name."""
        named = [*self.require.values(), *self.keep_top, *([self.best_of] if self.best_of else [])]
        return [str(name) for name in dict.fromkeys(named) if _is_reference(name)]


class Rung(Part):
    """One more try at what is unfaithful: another seed, and what is set here instead of what the view says."""

    prompt: str | None = Field(
        default=None, min_length=1, max_length=20_000, description="Asked instead of the view's prompts."
    )
    temperature: float | None = Field(default=None, ge=0, le=10, description="Unset: as in the view.")
    top_p: float | None = Field(default=None, gt=0, le=1, description="Unset: as in the view.")
    max_tokens: int | None = Field(default=None, ge=1, description="Unset: as in the view.")
    n: int = Field(default=1, ge=1, le=64, description="Candidates per image.")

    def sampling(self, view: View) -> Sampling:
        """How it samples the captions of a view. Raises ValueError for several greedy candidates."""
        own = {
            name: value for name in ("temperature", "top_p", "max_tokens") if (value := getattr(self, name)) is not None
        }
        return Sampling.model_validate(view.sampling.model_dump() | own | {"n": self.n})


class Repair(Part):
    """What is done about captions that a filter finds unfaithful, before selection decides. Nothing is written over: every
    repaired caption is one more candidate.
    """

    by: str = Field(description="The filter that decides, or calibration:NAME-vN.")
    least: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="A caption below this score is unfaithful, and so is a sentence; of a calibration, its threshold.",
    )
    regenerate: tuple[Rung, ...] = Field(
        default=(),
        max_length=8,
        description="The ladder: images and views of which no candidate is faithful are captioned again, rung by rung, each "
        "only for what the ones before left.",
    )
    cut: bool = Field(
        default=False,
        description="Where no candidate is faithful after that, cut the unsupported sentences out of each.",
    )

    @model_validator(mode="after")
    def _has_something_to_do(self) -> Repair:
        if not self.regenerate and not self.cut:
            raise ValueError("say what to do: regenerate: [{temperature: 0.7}], cut: true, or both")
        if _is_reference(self.by) == (self.least is not None):
            raise ValueError(
                "least: a calibration has its own threshold; leave least out"
                if self.least is not None
                else f"least: name the least score of {self.by} that is faithful"
            )
        return self


class CaptionRule(Part):
    """How the released caption of an image is made from its views. What a rule draws, it draws from the seed and the key."""

    rule: Literal["original", "replace", "concatenate", "random", "split", "turns"] = Field(
        description="original: the source's own text. replace: the caption of one view. concatenate: a template. random: "
        "each image draws its view. split: the same, in exact shares of the images. turns: the captions of several views as "
        "questions and answers, the first of them as the caption."
    )
    view: str | None = Field(default=None, description="Of replace.")
    template: str | None = Field(default=None, description="Of concatenate, for example '{original}\\n{self}'.")
    shares: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=dict, description="Of random and split: view: its probability or share; together 1."
    )
    views: tuple[str, ...] = Field(default=(), description="Of turns, in their order.")

    @model_validator(mode="after")
    def _fits_its_rule(self) -> CaptionRule:
        wanted = {"replace": "view", "concatenate": "template", "random": "shares", "split": "shares", "turns": "views"}
        needed = wanted.get(self.rule)
        for name in sorted({*wanted.values()}):
            if name == needed and not getattr(self, name):
                raise ValueError(f"the rule {self.rule} needs {name}")
            if name != needed and getattr(self, name):
                raise ValueError(f"the rule {self.rule} has no {name}")
        if self.shares and abs(sum(self.shares.values()) - 1) > 1e-6:
            raise ValueError(f"shares: they must sum to 1, not {sum(self.shares.values()):g}")
        if len(set(self.views)) != len(self.views):
            raise ValueError("views: each view may be named once")
        return self

    def named(self) -> list[str]:
        """The views that the rule asks for."""
        if self.rule == "original":
            return ["original"]
        texts = TEMPLATE_FIELD.findall(self.template) if self.template else []
        return list(dict.fromkeys([*([self.view] if self.view else []), *texts, *self.shares, *self.views]))


class Release(Part):
    """Where the selected captions are released."""

    to: str = Field(min_length=1, description="Directory that holds the versions, local or any fsspec URL.")
    version: str = Field(
        default="auto", description="Semantic version, or 'auto': the next minor version whenever the content changed."
    )
    license: str = Field(
        default="unknown", min_length=1, description="Licence of the captions, as on the Hub (cc-by-4.0)."
    )
    image_license: str | None = Field(
        default=None,
        min_length=1,
        description="Licence of all images, as on the Hub; unset: each row names its own (source.fields: [license]).",
    )
    limits: dict[str, float] = Field(
        default_factory=dict,
        description="filter: least score of any caption that may be published; pii and nsfw have 0.5 unless set.",
    )
    caption: str | CaptionRule | None = Field(
        default=None,
        description="How the released caption is made from the views; a text is a template, for example "
        "'{original}\\n{self}'; unset: the first kept caption in the order of the views.",
    )
    questions: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="view: questions that its caption answers, of which each image draws one by seed; 'template' are those of "
        "a template. Unset: the prompts of the view.",
    )
    without: Literal["chosen", "leave_out", "error"] = Field(
        default="chosen",
        description="Images that lack a text the rule asks for: released with the chosen caption alone, left out, or an error. "
        "Counted.",
    )
    rewrite: tuple[Literal["refusal", "opener", "cut_sentence", "pii"], ...] = Field(
        default=(),
        description="Rewrites of the released captions, in this order: cut refusing sentences, take off 'The image shows', "
        "trim a cut last sentence (of truncated captions), mask personal data. The original text stays beside.",
    )
    configs: tuple[Literal["default", "sft", "text", "rejected"], ...] = Field(
        default=("default", "sft", "text"),
        description="What is written; default always is. sft: images, prompt, completion (the images a second time on disk, not "
        "on the Hub). text: captions alone. rejected: dropped captions, no images.",
    )
    dropped: Literal["leave_out", "include"] = Field(
        default="leave_out",
        description="Images without a kept caption: left out, or in the default config with keep: false and a drop_reason.",
    )
    shard_mb: int = Field(
        default=400,
        ge=1,
        le=5000,
        description="Size of a new Parquet shard in MB. Building needs memory for two.",
    )

    @property
    def rule(self) -> CaptionRule | None:
        """The assembly rule; of a text, that of a template."""
        if isinstance(self.caption, str):
            return CaptionRule(rule="concatenate", template=self.caption)
        return self.caption

    @field_validator("limits")
    @classmethod
    def _limits_are_scores(cls, value: dict[str, float]) -> dict[str, float]:
        for name, least in value.items():
            if not 0 <= least <= 1:
                raise ValueError(f"{name}: scores are between 0 and 1, got {least}")
        return value

    @field_validator("version")
    @classmethod
    def _semver(cls, value: str) -> str:
        if value != "auto" and not re.match(SEMVER_PATTERN, value):
            raise ValueError(f"'{value}' is not a semantic version such as 1.0.0 (or 'auto')")
        return value


class FilterUse(Part):
    """A filter of the run with its parameters."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)


class Recipe(Part):
    """Everything a run does."""

    name: str = Field(pattern=NAME_PATTERN, description="Name of the run; also the default run directory.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of prompt choice, sampling and draws.")
    source: Source
    original: bool = Field(
        default=False, description="Score, select and release the source's own texts too, as the view 'original'."
    )
    views: tuple[View, ...] = Field(default=(), description="The captions to make; none where original is true.")
    filters: tuple[FilterUse, ...] = ()
    repair: Repair | None = Field(default=None, description="Unset: what is unfaithful is only dropped.")
    select: Select = Select()
    release: Release | None = Field(default=None, description="Unset: the run ends with the selection.")

    @field_validator("filters", mode="before")
    @classmethod
    def _filter_shorthand(cls, value: Any) -> Any:
        """`- repetition` and `- length: {min_words: 5}` are the two ways to write a filter."""
        if not isinstance(value, (list, tuple)):
            return value
        return [_filter_use(item) for item in value]

    @model_validator(mode="after")
    def _names_fit_together(self) -> Recipe:
        views = [view.name for view in self.views]
        if not views and not self.original:
            raise ValueError(
                "views: name a view to caption with, or set original: true to filter the source's own texts"
            )
        nameless = (
            isinstance(self.source, (ParquetSource, WebDatasetSource, HuggingFaceSource)) and not self.source.text
        )
        if self.original and nameless:
            raise ValueError("source.text: name the column that holds the text, which original: true wants to score")
        if views and isinstance(self.source, CaptionsSource):
            raise ValueError("views: a source of captions has no images to caption; set original: true and no views")
        if len(set(views)) != len(views):
            raise ValueError("views: names must be unique")
        if "original" in views:
            raise ValueError("views: 'original' is the source's own text; choose another name")
        names = [use.name for use in self.filters]
        if len(set(names)) != len(names):
            raise ValueError("filters: each filter may be named once")
        rule = self.release.rule if self.release else None
        for text in rule.named() if rule else ():
            if text not in [*views, "original"]:
                raise ValueError(
                    f"release.caption: no view '{text}'{did_you_mean(text, [*views, 'original'], every=True)}"
                )
        for text in self.release.questions if self.release else ():
            if text not in [*views, "original", "template"]:
                raise ValueError(
                    f"release.questions: no view '{text}'{did_you_mean(text, [*views, 'original', 'template'], every=True)}"
                )
        for name in self.select.keep_unscored:
            if name not in self.select.require:
                raise ValueError(
                    f"select.keep_unscored: '{name}' is not in select.require{did_you_mean(name, list(self.select.require))}"
                )
        for name in self.release.limits if self.release else ():
            if name not in names:
                raise ValueError(f"release.limits: no filter '{name}' in this recipe{did_you_mean(name, names)}")
        if self.repair is not None:
            self._check_repair(self.repair, names)
        for name in self.select.filters:
            if name not in names:
                raise ValueError(f"select: '{name}' is not among the filters of this recipe{did_you_mean(name, names)}")
        return self

    def _check_repair(self, repair: Repair, names: list[str]) -> None:
        if not _is_reference(repair.by) and repair.by not in names:
            raise ValueError(f"repair.by: no filter '{repair.by}' in this recipe{did_you_mean(repair.by, names)}")
        if self.select.best_of is None:
            raise ValueError(
                f"repair: it adds candidates; say which one is kept with select.best_of, for example best_of: {repair.by}"
            )
        if repair.regenerate and not self.views:
            raise ValueError(
                "repair.regenerate: these captions come from elsewhere, so nobody can write them again; use cut"
            )
        for place, rung in enumerate(repair.regenerate):
            for view in self.views:
                where = f"repair.regenerate.{place}"
                try:
                    sampling = rung.sampling(view)
                except ValueError as error:
                    raise ValueError(f"{where}: {error}") from None
                if not (sampling.temperature or view.sampling.temperature or rung.prompt):
                    raise ValueError(
                        f"{where}: the view {view.name} would write the same caption again; set temperature above 0, or a prompt"
                    )

    @property
    def calibrations(self) -> list[str]:
        """The calibrations that selection and repair name."""
        repair = [self.repair.by] if self.repair is not None and _is_reference(self.repair.by) else []
        return list(dict.fromkeys([*self.select.calibrations, *repair]))


def _filter_use(item: Any) -> Any:
    if isinstance(item, str):
        return {"name": item}
    if isinstance(item, dict) and len(item) == 1 and "name" not in item:
        name, params = next(iter(item.items()))
        if params is None or isinstance(params, dict):
            return {"name": name, "params": params or {}}
    return item


# --- loading ---------------------------------------------------------------------------------------------------------


def load_recipe(path: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe file and apply `--set` overrides.

    Args:
        path: the YAML file.
        overrides: `key.path=value` texts; a list item is named by index or by its `name`; the value is YAML.

    Raises:
        RecipeError: everything that is wrong with it, each with file and line and what to do.
    """
    text = read_yaml(path)
    for override in overrides:
        set_value(text, override)
    return parse_recipe(text)


def parse_recipe(text: RecipeText) -> Recipe:
    """Validate parsed YAML. Raises RecipeError with all problems at once."""
    try:
        recipe = Recipe.model_validate(text.data)
    except ValidationError as error:
        raise RecipeError([_problem(text, item) for item in error.errors()]) from None
    _check_filters(text, recipe)
    return recipe


def _check_filters(text: RecipeText, recipe: Recipe) -> None:
    """Unknown filters and wrong filter parameters are recipe errors too."""
    import filters

    problems = []
    for place, use in enumerate(recipe.filters):
        try:
            filters.build(use.name, filter_params(use.params))
        except (filters.FilterError, RecipeError) as error:
            problems.append(f"{text.where(('filters', place))}: filters.{place}: {error}")
    if problems:
        raise RecipeError(problems)


def _problem(text: RecipeText, item: Any) -> str:
    loc = tuple(item["loc"])
    path, model = _resolve(text, loc)
    name = ".".join(str(step) for step in path) or "recipe"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        message = f"unknown key{did_you_mean(str(loc[-1]), _keys(model), every=True)}"
    elif item["type"] == "missing":
        message = "this key is missing"
    elif item["type"] == "union_tag_invalid":
        kinds = [part.model_fields["kind"].annotation.__args__[0] for part in _union_members(Source)]
        given = text.get(path).get("kind") if isinstance(text.get(path), dict) else None
        message = f"unknown kind '{given}'{did_you_mean(str(given), kinds, every=True)}"
        path, name = (*path, "kind"), f"{name}.kind"
    elif item["type"] == "union_tag_not_found":
        message = "'kind' is missing: folder, parquet, webdataset, huggingface, captions or demo"
    return f"{text.where(path)}: {name}: {message}"


def _resolve(text: RecipeText, loc: tuple[Any, ...]) -> tuple[tuple[Any, ...], type[Part]]:
    """The YAML path of a pydantic location (union tags are not in the YAML), and the model the last key belongs to."""
    model: Any = Recipe
    owner: type[Part] = Recipe
    path: list[Any] = []
    for step in loc:
        members = _union_members(model)
        tagged = [part for part in members if isinstance(step, str) and _tag(part) == step]
        if tagged:
            model = tagged[0]
            continue
        if isinstance(model, type) and issubclass(model, Part):
            owner = model
            field = model.model_fields.get(str(step))
            model = field.annotation if field else None
        elif isinstance(step, int) and get_origin(model) is tuple:
            model = get_args(model)[0]
        elif isinstance(step, str) and text.get((*path, step)) is None:
            continue  # a branch of a plain union such as `replicas`; not a key of the file
        path.append(step)
    return tuple(path), owner


def _union_members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Union:
        return [part for part in get_args(annotation) if isinstance(part, type) and issubclass(part, Part)]
    return []


def _tag(part: type[Part]) -> str | None:
    kind = part.model_fields.get("kind")
    return get_args(kind.annotation)[0] if kind else None


def _keys(model: type[Part]) -> list[str]:
    return list(model.model_fields)


def did_you_mean(word: str, known: list[str] | tuple[str, ...], every: bool = False) -> str:
    """'; did you mean ...?' for a near miss; with `every`, otherwise the whole list of what is known."""
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(known)}" if every and known else ""


def recipe_schema() -> dict[str, Any]:
    """JSON Schema of a recipe for editors, with the two ways to write a filter and each filter's parameters."""
    import filters

    schema = Recipe.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "caption factory recipe"
    names = {}
    for name, cls in filters.registered().items():
        parameters = cls.model_json_schema()
        schema["$defs"].update(parameters.pop("$defs", {}))
        names[name] = {"anyOf": [parameters, {"type": "null"}]}
    one_filter = {
        "type": "object",
        "properties": names,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    schema["properties"]["filters"] = {
        "type": "array",
        "description": "The filters that score every caption.",
        "items": {"anyOf": [{"enum": list(names)}, one_filter]},
    }
    schema["$defs"].pop("FilterUse", None)
    return schema


def recipe_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default written out; it loads again to an equal recipe."""
    import yaml

    return str(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120))
