"""Filters that look at the image, or at a caption beside it."""
