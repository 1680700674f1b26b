"""Models that judge answers: two answers held against each other, or one graded by criteria."""
