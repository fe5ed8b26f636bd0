"""Captions taken apart into atomic claims."""
