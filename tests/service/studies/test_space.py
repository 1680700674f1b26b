from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from service.errors import SettingsError
from service.studies.sweep.space import read_sweep


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sweep.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_ranges_and_choices_become_what_is_drawn_from(tmp_path: Path) -> None:
    sweep = read_sweep(
        write(
            tmp_path,
            """
            trials = 12
            [pruning]
            startup_trials = 2
            [space]
            learning_rate = { low = 1e-4, high = 5e-3, log = true }
            rank = { choices = [4, 8, 16] }
            batch_size = { low = 2, high = 8, step = 2 }
            dropout = { low = 0, high = 0.2 }
            target_modules = { choices = ["all-linear"] }
            """,
        )
    )
    assert (sweep.trials, sweep.pruning.startup_trials, sweep.sampler) == (12, 2, "tpe")
    assert sweep.distributions() == {
        "learning_rate": FloatDistribution(1e-4, 5e-3, log=True),
        "rank": CategoricalDistribution((4, 8, 16)),
        "batch_size": IntDistribution(2, 8, step=2),
        "dropout": FloatDistribution(0.0, 0.2),
        "target_modules": CategoricalDistribution(("all-linear",)),
    }


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("learning_rat = { low = 1e-4, high = 1e-3 }", "space.learning_rat is no training setting; did you mean"),
        ("rank = { choices = [4, 0] }", r"space\.rank: .*greater than or equal to 1 \(given: 0\)"),
        ("learning_rate = { low = 1e-4, high = 2 }", r"space\.learning_rate: .*less than or equal to 1"),
        ("batch_size = { low = 1.5, high = 8 }", r"space\.batch_size: .*integer"),
        ("dora = { low = 0, high = 1 }", r"space\.dora is no number"),
        ("seed = { low = 0, high = 9 }", r"space\.seed would change the rows held out"),
        ("rank = { low = 4 }", r"space\.rank: give either choices, or low and high"),
        ("rank = { low = 4, high = 8, choices = [1] }", r"space\.rank: give either"),
        ("rank = { low = 8, high = 4 }", r"space\.rank: low must be below high"),
        ("dropout = { low = 0, high = 0.5, log = true }", r"space\.dropout: log needs a low above 0"),
        ("rank = { choices = [] }", r"space\.rank\.choices"),
        ("rank = { chioces = [4] }", r"space\.rank\.chioces"),
        ("", "space"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, space: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_sweep(write(tmp_path, f"trials = 3\n[space]\n{space}\n"))


@pytest.mark.parametrize("text", ["trials = 0\n[space]\nrank = { choices = [4] }", "trials = ", "[space]\n"])
def test_a_malformed_file_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"sweep\.toml"):
        read_sweep(write(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_sweep(tmp_path / "none.toml")
