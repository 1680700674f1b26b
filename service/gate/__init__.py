"""Gates on aliases: policies as rows, what is run for them, and the move or the refusal that comes of it."""
