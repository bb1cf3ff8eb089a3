"""Ways to sample the tokens of the next frame."""
