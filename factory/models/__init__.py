"""Which weights a name means, and of which family a model is."""
