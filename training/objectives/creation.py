"""The objective that a configuration asks for."""

from training.config import TrainingConfig
from training.objectives.objective import Objective
from training.objectives.preference import Preference
from training.objectives.supervised import Supervised


def create_objective(config: TrainingConfig) -> Objective:
    """By `config.method`."""
    if config.method == "dpo":
        return Preference(config.dpo_beta, config.dpo_label_smoothing)
    return Supervised()
