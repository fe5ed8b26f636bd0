"""The mixture file: which corpora are mixed, and in which shares of tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from exports.release import ReleaseError

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
OF_RELEASES = ("replay", "view", "synthetic", "images", "together", "answers")
OF_TEXTS = ("column", "shortest", "longest")


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Paths = Annotated[tuple[str, ...] | None, BeforeValidator(_listed)]


class MixturePart(BaseModel):
    """One corpus. Exactly one of `release`, `interleaved` and `text` says where it is."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    share: float = Field(gt=0, description="Weight of its tokens; weights of all parts are made to sum to 1.")
    release: Paths = Field(
        default=None, description="Released captions: a directory or hub:org/name@v1.2.0, or several."
    )
    interleaved: Paths = Field(
        default=None, description="Documents of texts and images: Parquet or JSON lines, files or globs."
    )
    text: Paths = Field(default=None, description="Plain text: .txt (a document a line), .jsonl or .parquet.")
    epochs: int = Field(default=1, ge=1, description="How often a document may be read at most.")
    replay: Literal["accumulate", "replace"] = Field(
        default="accumulate", description="Of several releases: all of them, or the last alone."
    )
    view: str | None = Field(
        default=None,
        description="View whose kept captions are taken ('original': the source's); unset: the released ones.",
    )
    synthetic: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Per image: the caption of `view` with this probability, else the original. Only images that have both are "
        "taken, so that every probability sees the same ones.",
    )
    images: bool = Field(default=True, description="false: the captions stand alone, as text.")
    together: int = Field(
        default=1,
        ge=1,
        le=100,
        description="Above 1: so many images and their captions, in turns, become one document.",
    )
    answers: bool = Field(
        default=False,
        description="A caption is a question, up to its first question mark, and its answer. Others are left out.",
    )
    column: str = Field(default="text", description="Of .jsonl and .parquet: where the text is.")
    shortest: int = Field(default=1, ge=1, description="Texts of fewer tokens are left out, and counted.")
    longest: int | None = Field(
        default=None, ge=1, description="Texts of more tokens are cut between words into pieces of so many at most."
    )

    @property
    def kind(self) -> Literal["captions", "interleaved", "text"]:
        """What its documents are."""
        if self.text is not None or not self.images:
            return "text"
        return "interleaved" if self.interleaved is not None or self.together > 1 else "captions"

    @model_validator(mode="after")
    def _belongs_together(self) -> MixturePart:
        named = [name for name in ("release", "interleaved", "text") if getattr(self, name)]
        if len(named) != 1:
            raise ValueError(f"name one of release, interleaved and text; got {' and '.join(named) or 'none'}")
        for name in (*OF_RELEASES, *OF_TEXTS):
            fits = self.release is not None if name in OF_RELEASES else self.text is not None
            fits = fits or (name in ("shortest", "longest") and self.kind == "text")
            if name in self.model_fields_set and not fits:
                raise ValueError(f"{name} does not belong to {named[0]}")
        if self.synthetic is not None and self.view == "original":
            raise ValueError("synthetic: the probability of a caption that a model wrote; name its view, not original")
        if self.together > 1 and not self.images:
            raise ValueError("together: documents of images and captions; it goes without images: false")
        if self.answers and self.kind != "captions":
            raise ValueError("answers: questions about images; it goes without together and images: false")
        if self.longest is not None and self.longest < self.shortest:
            raise ValueError(f"longest ({self.longest}) is below shortest ({self.shortest})")
        return self


class Mixture(BaseModel):
    """Corpora and their shares. The same file and inputs give the same bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field(pattern=NAME, description="Name of the mixture, for its card.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Of the order, and of what is drawn per image.")
    tokens: int | None = Field(
        default=None, ge=1, description="How many in all. Unset: until the first part has no more to give."
    )
    tokenizer: str | None = Field(
        default=None, description="Directory or Hub id of the tokenizer that counts; unset: words between white space."
    )
    image_tokens: int = Field(default=144, ge=0, description="What an image counts; 144 are MM1's (arXiv 2403.09611).")
    buffer: int = Field(
        default=256, ge=1, le=1_000_000, description="Documents of a part among which the next is drawn."
    )
    shard_mb: int = Field(default=500, ge=1, description="About how large a Parquet file becomes.")
    parts: dict[Annotated[str, Field(pattern=NAME)], MixturePart] = Field(
        min_length=1, description="The corpora by name."
    )

    def shares(self) -> dict[str, float]:
        """Part -> its share of the tokens; they sum to 1."""
        whole = sum(part.share for part in self.parts.values())
        return {name: part.share / whole for name, part in self.parts.items()}


def parse_mixture(data: Any, where: Callable[[tuple[Any, ...]], str] = lambda path: "mixture") -> Mixture:
    """A mixture of parsed YAML.

    Args:
        where: says where a key stands, for messages: (keys from the top) -> 'file:line'.

    Raises:
        ReleaseError: everything that is wrong with it, a line each.
    """
    try:
        return Mixture.model_validate(data)
    except ValidationError as error:
        raise ReleaseError("\n".join(_problem(item, where) for item in error.errors())) from None


def _problem(item: Any, where: Callable[[tuple[Any, ...]], str]) -> str:
    path = tuple(step for step in item["loc"] if step != "[key]")
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        message = f"unknown key{_near(str(path[-1]), MixturePart if path[0] == 'parts' else Mixture)}"
    elif item["type"] == "missing":
        message = "this key is missing"
    return f"{where(path)}: {'.'.join(str(step) for step in path) or 'mixture'}: {message}"


def _near(word: str, model: type[BaseModel]) -> str:
    import difflib

    near = difflib.get_close_matches(word, model.model_fields, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(model.model_fields)}"
