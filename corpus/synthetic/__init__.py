"""New rows out of seed rows and documents: what a model is asked, what is read out of its answers, what is kept."""
