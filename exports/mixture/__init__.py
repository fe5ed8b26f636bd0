"""Corpora mixed by shares of tokens: released captions, interleaved documents and plain text, as Parquet that trainers read."""

from exports.mixture.mixing import Mixed, mix, open_mixture
from exports.mixture.mixture_file import Mixture, MixturePart, parse_mixture

__all__ = ["Mixed", "Mixture", "MixturePart", "mix", "open_mixture", "parse_mixture"]
