"""Scores of captions against references of people."""
