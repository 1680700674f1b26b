"""Who runs next: the waiting requests, the running ones, and each step's share of tokens."""
