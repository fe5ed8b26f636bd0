"""Two captions of one image, and which is better: what people said, what a judge says, and how far they agree."""
