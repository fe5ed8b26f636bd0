"""Mix corpora by shares of tokens: the next document comes from the part that is furthest below its share."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from exports.consume import Report
from exports.formats.parquet_config import write_shards
from exports.formats.whole_directory import whole_directory
from exports.manifest import MANIFEST, canonical_json, sha256_hex
from exports.mixture.documents import Corpus, Document
from exports.mixture.mixture_card import mixture_card
from exports.mixture.mixture_file import Mixture
from exports.mixture.token_counts import token_counter
from exports.release import ReleaseError

FORMAT: Final = 1
COLUMNS: Final = ("id", "images", "messages", "texts", "text", "about", "kind", "part", "tokens")


@dataclass
class PartCount:
    """What a part gave. `asked` and `got` are shares of tokens; `words` without questions;
    `epochs`: how often it was begun; `left_out`: reason -> documents; `cut`: texts cut into pieces."""

    kind: str
    asked: float
    got: float = 0.0
    tokens: int = 0
    rows: int = 0
    images: int = 0
    words: int = 0
    epochs: int = 0
    left_out: dict[str, int] | None = None
    cut: int = 0


@dataclass(frozen=True)
class Mixed:
    """A mixture on this disk. `ended`: the part that had no more to give, where no number of tokens was asked for."""

    to: str
    name: str
    manifest_sha256: str
    tokens: int
    rows: int
    parts: dict[str, PartCount]
    ended: str | None

    def summary(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For a terminal."""
        found = [f"mixture    {self.to} ({self.rows:,} rows, {self.tokens:,} tokens)"]
        for name, part in self.parts.items():
            found.append(
                f"{'':<11}{name}: {part.got:.2%} of the tokens ({part.asked:.2%} asked), {part.rows:,} rows, {part.images:,} images"
                + (f", read {part.epochs} times" if part.epochs > 1 else "")
            )
        return found + ([f"{'':<11}ends where the part '{self.ended}' has no more to give"] if self.ended else [])

    def data_files(self) -> list[str]:
        """The Parquet files in their order."""
        return sorted(str(path) for path in (Path(self.to) / "data").glob("train-*.parquet"))


class _Mixing:
    """The state of a mixture that is being made."""

    def __init__(self, mixture: Mixture, report: Report | None) -> None:
        self.mixture = mixture
        self.count = token_counter(mixture.tokenizer)
        self.shares = mixture.shares()
        self.corpora = {
            name: Corpus(name, part, mixture.seed, mixture.buffer, self.count, report)
            for name, part in mixture.parts.items()
        }
        self.counts = {name: PartCount(part.kind, self.shares[name]) for name, part in mixture.parts.items()}
        self.ended: str | None = None

    @property
    def total(self) -> int:
        return sum(count.tokens for count in self.counts.values())

    def rows(self) -> Iterator[dict[str, Any]]:
        streams = {name: corpus.documents() for name, corpus in self.corpora.items()}
        total, limit = 0, self.mixture.tokens
        while limit is None or total < limit:
            name = min(streams, key=lambda one: self.counts[one].tokens / self.shares[one])  # the first of equals
            document = next(streams[name], None)
            if document is None:
                if limit is not None:
                    raise self._cannot_be_met(name, limit)
                self.ended = name
                return
            tokens = document.tokens(self.count, self.mixture.image_tokens)
            total += tokens
            count = self.counts[name]
            count.tokens += tokens
            count.rows += 1
            count.images += len(document.images)
            count.words += document.words()
            yield _row(document, name, tokens)

    def finish(self) -> dict[str, PartCount]:
        total = self.total
        for name, count in self.counts.items():
            corpus = self.corpora[name]
            count.got = count.tokens / total
            count.epochs = corpus.epoch
            count.left_out = dict(sorted(corpus.tally.left_out.items()))
            count.cut = corpus.tally.cut
        return self.counts

    def _cannot_be_met(self, name: str, limit: int) -> ReleaseError:
        part, share, got = self.mixture.parts[name], self.shares[name], self.counts[name].tokens
        wanted = math.ceil(share * limit)
        # The share x of this part, with the other weights as they are: got = x / (x + others) * limit.
        others = sum(one.share for other, one in self.mixture.parts.items() if other != name)
        ways = [f"parts.{name}.epochs: {math.ceil(wanted * part.epochs / max(1, got))}"]
        ways += [f"tokens: {math.floor(got / share)}"]
        if others and got < limit:
            ways.append(f"parts.{name}.share: {float(f'{others * got / (limit - got):.3g}')}")
        return ReleaseError(
            f"the shares cannot be met: the part '{name}' ends after {got:,} tokens in {part.epochs} epoch(s), and "
            f"{share:.1%} of {limit:,} tokens are {wanted:,}. Set {', or '.join(ways)}, or give it more documents"
        )


def mix(mixture: Mixture, to: str | Path, report: Report | None = None) -> Mixed:
    """Mix corpora into a directory that `datasets.load_dataset` reads: Parquet shards, a card and a manifest.

    Rows have `id`, `images` (a list), one of `messages`, `texts` (None stands for the next image) and `text`, and `kind`
    (captions, interleaved, text), `part` and `tokens`. Memory is that of the shuffle buffers and one row group. The same
    mixture and inputs give the same bytes.

    Args:
        to: a directory that is not there yet (or is empty); it appears when all of it is written.
        report: called with a line of progress.

    Returns:
        What each part gave. The total is `tokens` and at most one document more.

    Raises:
        ReleaseError: a part is missing or empty, or the shares cannot be met (it says which part ends when).
        OSError: the disk is full; nothing is left of the mixture then.
    """
    with whole_directory(to) as folder:
        mixing = _Mixing(mixture, report)
        write_shards(mixing.rows(), features(), folder, "default", mixture.shard_mb * 1_000_000)
        counts = mixing.finish()
        files = [
            {"path": f"data/{path.name}", "bytes": path.stat().st_size, "sha256": _file_sha256(path)}
            for path in sorted((folder / "data").iterdir())
        ]
        manifest = {
            "mixture": FORMAT,
            "name": mixture.name,
            "asked": mixture.model_dump(
                mode="json", exclude={"parts": {"__all__": {"release", "interleaved", "text"}}}
            ),
            "inputs": {name: corpus.inputs for name, corpus in mixing.corpora.items()},
            "tokens": mixing.total,
            "rows": sum(count.rows for count in counts.values()),
            "parts": {name: asdict(count) for name, count in counts.items()},
            "ended": mixing.ended,
            "files": files,
        }
        (folder / "README.md").write_text(mixture_card(manifest), encoding="utf-8")
        (folder / MANIFEST).write_bytes(canonical_json(manifest))
    return open_mixture(to)


def is_mixture(target: str | Path) -> bool:
    """Whether a directory holds a mixture."""
    return _manifest(Path(target)) is not None


def open_mixture(target: str | Path, check: bool = False) -> Mixed:
    """A mixture that `mix` wrote. `check`: compare every byte with the manifest.

    Raises:
        ReleaseError: none there, or its files are not those of its manifest.
    """
    folder = Path(target).expanduser().absolute()
    content = _manifest(folder)
    if content is None:
        raise ReleaseError(f"{target} holds no mixture; `factory mix FILE --to {target}` makes one")
    for file in content["files"]:
        path = folder / file["path"]
        if not path.is_file() or path.stat().st_size != file["bytes"]:
            raise ReleaseError(f"{path} is not the file of its manifest; mix it again")
        if check and _file_sha256(path) != file["sha256"]:
            raise ReleaseError(f"{path} has other bytes than its manifest says; mix it again")
    parts = {name: PartCount(**part) for name, part in content["parts"].items()}
    digest = sha256_hex((folder / MANIFEST).read_bytes())
    return Mixed(str(folder), content["name"], digest, content["tokens"], content["rows"], parts, content["ended"])


def features() -> Any:
    """The columns of a mixture as `datasets` features."""
    from datasets import Features, Image, List, Value

    text = Value("string")
    return Features(
        {
            "id": text,
            "images": List(Image()),
            "messages": List({"role": text, "content": text}),
            "texts": List(text),
            "text": text,
            "about": text,  # SHA-256 of the image that a text without images was written about
            "kind": text,
            "part": text,
            "tokens": Value("int32"),
        }
    )


def _row(document: Document, part: str, tokens: int) -> dict[str, Any]:
    messages = None
    if document.messages is not None:
        messages = [{"role": role, "content": content} for role, content in document.messages]
    return {
        "id": document.id,
        "images": [{"bytes": data, "path": name} for data, name in document.images],
        "messages": messages,
        "texts": None if document.texts is None else list(document.texts),
        "text": document.text,
        "about": document.about,
        "kind": document.kind,
        "part": part,
        "tokens": tokens,
    }


def _manifest(folder: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("mixture") == FORMAT else None


def _file_sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
