"""Runs of data generation: a model that writes, the recipe it follows, and rows that survive whatever happens."""
