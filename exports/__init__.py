"""Build, describe and check releases: versioned Hugging Face datasets. Works without the factory."""
