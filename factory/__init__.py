"""Caption images in bulk, score the captions, select, repair and release them."""
