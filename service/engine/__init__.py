"""The inference engine: batches in which every row picks its own adapter. Speaks no HTTP."""
