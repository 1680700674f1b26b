"""Named sets of cases with their scorers and thresholds, versioned by digest."""
