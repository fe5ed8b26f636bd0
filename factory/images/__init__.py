"""From the bytes of an image to pixels, or to the reason why not."""
