"""One measure a file: pure functions from an answer and a reference to a number."""
