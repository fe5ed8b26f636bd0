"""A server with the OpenAI API, as a recipe names it: where it is, and how often it may be asked."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

KEY: Final = "OPENAI_API_KEY"
HOW_NOT_WHAT: Final = frozenset(
    {"timeout_s", "retries", "key_variable", "requests_per_minute", "tokens_per_minute", "at_once"}
)
"""Settings of a server, and of the judge behind it, that change how it is asked and not what it says."""


class Server(BaseModel):
    """A server that speaks the OpenAI API and serves a vision-language model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str = Field(pattern=r"^https?://", description="Base URL, such as http://localhost:8000/v1.")
    key_variable: str = Field(
        KEY,
        pattern=r"^[A-Z_][A-Z0-9_]{0,99}$",
        description="The environment variable that holds its key, where it wants one; a key stands in no file.",
    )
    retries: int = Field(
        3,
        ge=0,
        le=20,
        description="Times that a request is sent again, later each time, where the server fails or is busy.",
    )
    at_once: int = Field(32, ge=1, le=4096, description="Requests that it is sent at once, at most.")
    requests_per_minute: float | None = Field(None, gt=0, description="Requests a minute, at most; unset: no limit.")
    tokens_per_minute: float | None = Field(
        None, gt=0, description="Tokens a minute, of prompts and answers together, at most; unset: no limit."
    )

    @property
    def served_name(self) -> str:
        """The name by which the server knows the model."""
        raise NotImplementedError

    @field_validator("endpoint")
    @classmethod
    def _holds_no_key(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "an address without user, password or question mark: recipes are kept and released. A key goes into the "
                "environment variable that key_variable names"
            )
        return value
