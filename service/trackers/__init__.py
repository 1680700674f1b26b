"""Where a training run's figures go besides the terminal."""
