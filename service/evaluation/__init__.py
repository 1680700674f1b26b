"""Evaluations on this process's engine: asked for, carried out, compared and told."""
