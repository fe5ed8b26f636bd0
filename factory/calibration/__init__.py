"""From labels to the threshold of a score that keeps a promised precision."""
