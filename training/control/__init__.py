"""Watching a run while it goes on: which state was best, when to stop, and what looks wrong."""
