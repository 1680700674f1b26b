import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from training.config import AskedConfig, TrainingConfig


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
        {"length_buckets": True},
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


def test_two_settings_may_be_left_open_where_a_run_is_asked_for() -> None:
    asked = AskedConfig(learning_rate="auto", batch_size="auto")
    assert asked.open_settings == ("learning_rate", "batch_size")
    assert AskedConfig.model_validate_json(asked.model_dump_json()) == asked
    assert AskedConfig.model_validate({"learning_rate": "1e-3", "batch_size": "4"}).learning_rate == 1e-3
    with pytest.raises(ValidationError, match="learning_rate"):
        TrainingConfig.model_validate({"learning_rate": "auto"})


@pytest.mark.parametrize("setting", [{"learning_rate": 2}, {"learning_rate": "automatic"}, {"batch_size": 0.5}])
def test_what_is_neither_a_number_nor_auto_is_told_so_once(setting: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Input should be auto, or a") as caught:
        AskedConfig.model_validate(setting)
    assert [error["loc"] for error in caught.value.errors()] == [tuple(setting)]
