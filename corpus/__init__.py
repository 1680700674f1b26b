"""Records from files: reading, columns, duplicates, split and report. No tensors here."""
