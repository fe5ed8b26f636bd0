"""From captions to scores, part by part."""
