"""What a text counts in a mixture: tokens of the tokenizer that the user names, or words between white space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from exports.release import ReleaseError

Count = Callable[[str], int]


def words(text: str) -> int:
    """Words between white space."""
    return len(text.split())


def token_counter(tokenizer: str | None) -> Count:
    """Counts the tokens of a text, without special ones.

    Raises:
        ReleaseError: no such tokenizer, or the package that reads it is missing.
    """
    if tokenizer is None:
        return words
    file = Path(tokenizer).expanduser()
    file = file / "tokenizer.json" if file.is_dir() else file
    try:
        from tokenizers import Tokenizer

        loaded = Tokenizer.from_file(str(file)) if file.is_file() else Tokenizer.from_pretrained(tokenizer)
    except ImportError:
        raise ReleaseError(
            "tokenizer: counting tokens needs the package tokenizers (pip install tokenizers); without `tokenizer` words count"
        ) from None
    except Exception as error:  # the library raises bare ones
        raise ReleaseError(
            f"tokenizer: {tokenizer} cannot be read ({str(error)[:200]}); name a directory that holds a tokenizer.json, or a Hub id"
        ) from None
    return lambda text: len(loaded.encode(text, add_special_tokens=False).ids)


def pieces(text: str, longest: int, count: Count) -> list[str]:
    """The text cut between words into pieces of at most `longest` tokens; a single longer word stays whole.

    A piece is counted whole each time it could be the last, by halving, so cutting is about n log n.
    """
    rest = text.split()
    found: list[str] = []
    while rest:
        low, high = 1, min(len(rest), longest)  # a word has one token at least
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if count(" ".join(rest[:middle])) <= longest else (low, middle - 1)
        found.append(" ".join(rest[:low]))
        rest = rest[low:]
    return found
