"""The demo world: drawn scenes with a known truth, and a tiny vision-language model that describes them."""
