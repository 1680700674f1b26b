"""Running the base: one forward pass over the tokens of many sequences."""
