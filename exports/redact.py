"""Secrets out of texts that are shown, logged or published."""

from __future__ import annotations

import re

TOKEN = re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}")
SIGNED = re.compile(r"(https?://[^\s?'\"<>]+)\?[^\s'\"<>]+")  # storage URLs carry their permission in the query
USER_INFO = re.compile(r"(https?://)[^\s/@'\"]+@")
BEARER = re.compile(r"(?i)(bearer\s+)[^\s'\"]+")


def redact(text: str) -> str:
    """The text without tokens, without queries of URLs and without passwords in URLs."""
    for secret in _own_tokens():
        text = text.replace(secret, "[token]")
    text = SIGNED.sub(r"\1", USER_INFO.sub(r"\1", text))
    return BEARER.sub(r"\1[token]", TOKEN.sub("[token]", text))


def secrets_in(text: str) -> bool:
    """Whether a text holds something that looks like a token, or the token of this user."""
    return bool(TOKEN.search(text)) or any(secret in text for secret in _own_tokens())


def _own_tokens() -> list[str]:
    from huggingface_hub import get_token

    token = get_token()
    return [token] if token and len(token) > 7 else []
