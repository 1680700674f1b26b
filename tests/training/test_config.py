import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from training.config import TrainingConfig


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": 0},
        {"epochs": float("nan")},
        {"learning_rate": float("inf")},
        {"rank": 0},
        {"dropout": 1.0},
        {"batch_size": 0},
        {"seed": -1},
        {"layout": "stacked"},
        {"target_modules": "some"},
        {"no_such_setting": 1},
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(setting: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(setting))):
        TrainingConfig(**setting)


def test_a_configuration_survives_json() -> None:
    config = TrainingConfig(target_modules=("q_proj",), max_steps=3, dora=True)
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config


def test_reading_the_configuration_loads_no_tensors() -> None:
    script = "import sys, training.config; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=True)
