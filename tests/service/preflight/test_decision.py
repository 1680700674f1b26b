from pathlib import Path

import pytest

from service.preflight.auto import AutoChoice
from service.preflight.decision import FILE, Decision, keep_choices, kept_choices
from training.config import TrainingConfig
from training.errors import CheckpointError

CHOICES = (
    AutoChoice(name="learning_rate", value=0.0013, reason="by the law"),
    AutoChoice(name="batch_size", value=4, reason="by the rows"),
)


def test_choices_come_back_as_they_were(tmp_path: Path) -> None:
    keep_choices(tmp_path / "out", CHOICES)
    keep_choices(tmp_path / "out", CHOICES)
    assert kept_choices(tmp_path / "out") == CHOICES


def test_a_run_that_leaves_nothing_open_keeps_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    keep_choices(tmp_path, CHOICES)
    keep_choices(tmp_path, ())
    assert list(tmp_path.iterdir()) == []
    assert kept_choices(tmp_path) == ()


@pytest.mark.parametrize("content", ["{", "[1]", '[{"name": "x"}]'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"auto\.json cannot be read"):
        kept_choices(tmp_path)


def test_lineage_tells_what_was_taken() -> None:
    assert Decision(TrainingConfig(), CHOICES).lineage == {"auto": {"learning_rate": 0.0013, "batch_size": 4}}
    assert Decision(TrainingConfig(), ()).lineage == {}
