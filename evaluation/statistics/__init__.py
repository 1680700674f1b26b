"""What a difference between two models is worth: pure functions on sequences of numbers."""
