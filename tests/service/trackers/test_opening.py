import importlib.util
from pathlib import Path
from typing import Any

import pytest

from service.errors import SettingsError
from service.settings import Settings
from service.trackers.opening import open_trackers


def test_json_lines_are_always_written_and_last(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    kinds = [
        type(tracker).__name__ for tracker in open_trackers(("tensorboard", "tensorboard"), Settings(home=tmp_path))
    ]
    assert kinds == ["TensorBoard", "JsonLines"]


@pytest.mark.parametrize(
    ("name", "package"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow-skinny"), ("trackio", "trackio")]
)
def test_a_missing_package_is_refused_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any, package: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SettingsError, match=rf"pip install {package}$"):
        open_trackers((name,), Settings(home=tmp_path))
