from typing import Any

import pytest
from pydantic import ValidationError

from service.api.schemas.adapter_use import model_choice
from service.api.schemas.generate import GenerateBody
from service.inference.target import ModelChoice, WeightedAdapter

HALVES = {"merge": [{"adapter": "a", "weight": 0.5}, {"adapter": "b:2", "weight": -10}]}


@pytest.mark.parametrize(
    ("adapter", "choice"),
    [
        (None, None),
        ("a@prod", "a@prod"),
        ({"adapter": "a", "scale": 0.7}, (WeightedAdapter("a", 0.7),)),
        (HALVES, (WeightedAdapter("a", 0.5), WeightedAdapter("b:2", -10))),
    ],
)
def test_an_adapter_may_be_named_scaled_or_merged(adapter: Any, choice: ModelChoice) -> None:
    one = GenerateBody.model_validate({"prompt": "x", "adapter": adapter})
    many = GenerateBody.model_validate({"prompt": "x", "adapters": [None, adapter]})
    assert [model_choice(model) for model in one.models] == [choice]
    assert [model_choice(model) for model in many.models] == [None, choice]


@pytest.mark.parametrize(
    "adapter",
    [
        5,
        [],
        {},
        {"adapter": "a"},
        {"scale": 1.0},
        {"adapter": "", "scale": 1.0},
        {"adapter": "a", "scale": 10.5},
        {"adapter": "a", "scale": float("nan")},
        {"adapter": "a", "scale": "1"},
        {"merge": []},
        {"merge": "a"},
        {"merge": [{"adapter": "a", "weight": 1}] * 9},
        {"merge": [{"adapter": "a", "weight": float("inf")}]},
        {"merge": [{"adapter": "a", "weight": -10.5}]},
        {"merge": [{"adapter": "a"}]},
        {"merge": [{"adapter": None, "weight": 1}]},
        {"merge": [{"adapter": "a", "weight": 1}], "scale": 1},
    ],
)
def test_what_is_no_adapter_is_refused_where_it_stands(adapter: Any) -> None:
    for body, where in (({"adapter": adapter}, "adapter"), ({"adapters": ["b", adapter]}, "adapters")):
        with pytest.raises(ValidationError) as caught:
            GenerateBody.model_validate({"prompt": "x", **body})
        assert caught.value.errors()[0]["loc"][0] == where
