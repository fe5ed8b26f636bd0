"""What a recipe asks to be made, by fingerprint, and what of it is done and what is missing."""
