"""Models that filters load: fastText, transformers checkpoints, word vectors, pieces of long texts."""
