"""Scores of models on cases; models are seen only through the Sampler protocol."""
