import math

import pytest

from evaluation.errors import SettingsError
from evaluation.settings import GenerationSettings


@pytest.mark.parametrize("options", [{"max_tokens": 0}, {"temperature": -0.1}, {"temperature": math.nan}])
def test_settings_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(options))):
        GenerationSettings(**options)  # type: ignore[arg-type]  # the values are the test's parameters
