"""Captions as words: sentences, spans, phrases, objects, and what they claim to read."""
