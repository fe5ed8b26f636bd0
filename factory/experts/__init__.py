"""Experts: context about an image (printed words, objects, tags) before it is captioned. One file per kind.

A kind is a class in a file here with the name of the kind, which has an `EXPERT`: a subclass of `Expert`. Nothing else knows the
kinds. Those of users (docs/experts.md) come from plugin files, packages, or `module:name`.
"""

from factory.experts.contract import Expert, ExpertError, Finding, expert

__all__ = ["Expert", "ExpertError", "Finding", "expert"]
