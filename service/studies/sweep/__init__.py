"""Hyperparameter search: trials drawn by optuna, each an ordinary training run."""
