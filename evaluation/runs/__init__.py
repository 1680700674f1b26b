"""Runs of evaluations as rows: what was asked, what each case gave as it came, and what came of the whole."""
