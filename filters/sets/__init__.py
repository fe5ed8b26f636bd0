"""Filters that look at all captions of a set together."""
