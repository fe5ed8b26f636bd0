"""From images to captions, by engines or from the source's own texts."""
