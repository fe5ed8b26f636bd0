"""Filters that look at one caption's text alone."""
