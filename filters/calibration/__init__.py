"""Thresholds that keep a promised precision, proven by labels, and stacks of several scores."""
