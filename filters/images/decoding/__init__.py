"""The one decoder of foreign image bytes: what they are, what mends them, pixels, or the reason why not."""
