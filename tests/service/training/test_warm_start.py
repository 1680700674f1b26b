from pathlib import Path

import pytest

from adapters.config import LoraConfig
from service.settings import Settings
from service.training.spec import TrainingSpec
from service.training.warm_start import WarmStart, find_start, taken_over
from training.config import TrainingConfig
from training.errors import ConfigError


def start_of(**values: object) -> WarmStart:
    adapter = LoraConfig(**{"rank": 4, "alpha": 12.0, "target_modules": ("q_proj", "v_proj"), "rslora": True, **values})  # type: ignore[arg-type]
    return WarmStart(name="support:3", folder=Path(), digest="sha256:00", config=adapter)


def test_the_adapters_own_settings_are_taken_over_and_the_rest_is_kept() -> None:
    config = taken_over(TrainingConfig(learning_rate=1e-3), start_of())
    assert (config.rank, config.alpha, config.rslora, config.dora) == (4, 12.0, True, False)
    assert config.target_modules == ("q_proj", "v_proj")
    assert config.learning_rate == 1e-3


def test_what_was_asked_for_and_is_the_adapters_own_passes() -> None:
    asked = TrainingConfig(rank=4, target_modules=("v_proj", "q_proj"))
    assert taken_over(asked, start_of()).rank == 4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"rank": 8}, "--rank 8 is not what support:3 has"),
        ({"alpha": 1.0}, "--alpha 1.0"),
        ({"target_modules": ("k_proj",)}, "--target-modules k_proj"),
        ({"rslora": False}, "--rslora False"),
        ({"init": "pissa"}, "--init pissa and --init-from"),
    ],
)
def test_something_else_is_refused_and_named(asked: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        taken_over(TrainingConfig.model_validate(asked), start_of())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern"),
        ({"target_modules": ".*q_proj"}, "as a pattern"),
        ({"rank": 600}, "rank 600"),
    ],
)
def test_an_adapter_that_a_run_cannot_hold_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        taken_over(TrainingConfig(), start_of(**values))


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    spec = TrainingSpec(data=tmp_path / "a.jsonl", output=tmp_path / "out", init_from=str(tmp_path))
    with pytest.raises(ConfigError, match=r"no adapter_config\.json"):
        find_start(spec, Settings())
