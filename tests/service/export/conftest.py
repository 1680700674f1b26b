from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.base_facts import BaseFacts
from adapters.validation import validate
from base.digest import base_digest
from base.shapes import linear_shapes
from base.source import BaseSource
from service.export.material import Material, open_material


@pytest.fixture
def material(tiny_base_folder: Path) -> Callable[..., Material]:
    """`material(adapter, base=…)`: as the registry would give the adapter out."""

    def make(adapter: Path, base: Path | None = None) -> Material:
        source = BaseSource("tiny", base or tiny_base_folder)
        digest = base_digest(source.folder)
        facts = BaseFacts(name="tiny", digest=digest, linear_shapes=linear_shapes(source.folder))
        if not (adapter / "lorad.json").exists():
            validate(adapter, facts).manifest.write(adapter)
        return open_material(adapter, "support:1", source)

    return make
