"""What a run leaves on disk: checkpoints and the published adapter."""
