"""The frozen base with trainable low-rank layers in it, and the operations that make them fast."""
