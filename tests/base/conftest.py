import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase


@pytest.fixture
def folder(tiny_base_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny base to spoil."""
    return Path(shutil.copytree(tiny_base_folder, tmp_path / "base"))


@pytest.fixture
def change_json() -> Callable[..., None]:
    """Rewrites a JSON file with some keys replaced or (None) left out."""

    def change(path: Path, **changes: object) -> None:
        content = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return change


@pytest.fixture(scope="session")
def tokenizer(tiny_base_folder: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_base_folder)
    return loaded
