import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.config import LoraConfig
from adapters.errors import InvalidAdapterError
from adapters.patterns import check_patterns
from adapters.targets import targeted_modules

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import peft
    from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists

MODULES = tuple(
    f"model.layers.{layer}.{name}"
    for layer in range(3)
    for name in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj")
)
ENDINGS = st.sampled_from(["q_proj", "self_attn.v_proj", "proj", "model.layers.1.mlp.up_proj", "up_proj", "layers.2"])
LISTS = st.lists(ENDINGS, min_size=1, max_size=3)


def peft_targets(**settings: Any) -> tuple[str, ...]:
    config = peft.LoraConfig(**settings)
    found = {module: check_target_module_exists(config, module) for module in MODULES}
    return tuple(module for module, match in found.items() if match and not isinstance(match, _ExcludedModule))


def ours(**settings: Any) -> tuple[str, ...]:
    values = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, **settings}
    return targeted_modules(LoraConfig.from_peft(values), MODULES)


@given(LISTS, LISTS | st.none())
def test_lists_target_what_peft_targets(targets: list[str], excluded: list[str] | None) -> None:
    settings = {"target_modules": targets, "exclude_modules": excluded}
    assert ours(**settings) == peft_targets(**settings)


@pytest.mark.parametrize(
    "target", [r".*\.q_proj", r"model\.layers\.[12]\..*", "q_proj", r"(?i).*Q_PROJ", r".*(q|up)_proj$"]
)
def test_patterns_target_what_peft_targets(target: str) -> None:
    assert ours(target_modules=target) == peft_targets(target_modules=target)


@pytest.mark.parametrize(
    ("layers", "pattern"),
    [([0, 2], None), (1, None), ([], None), ([1], "layers"), ([1], ["blocks", "layers"]), ([1], "x")],
)
def test_layers_are_chosen_as_peft_chooses_them(layers: Any, pattern: Any) -> None:
    settings = {"target_modules": ["q_proj"], "layers_to_transform": layers, "layers_pattern": pattern}
    assert ours(**settings) == peft_targets(**settings)


def test_all_linear_means_every_layer_given() -> None:
    assert ours(target_modules="ALL-linear") == MODULES


@pytest.mark.parametrize(
    "key", ["target_modules", "exclude_modules", "rank_pattern", "alpha_pattern", "layers_pattern"]
)
def test_a_malformed_pattern_is_refused_wherever_it_stands(key: str) -> None:
    value = {"rank_pattern": {"(": 1}, "alpha_pattern": {"(": 1}}.get(key, "(")
    with pytest.raises(InvalidAdapterError, match="not a regular expression"):
        ours(
            **{
                "target_modules": ["q_proj"],
                "layers_to_transform": None if key == "target_modules" else [0],
                key: value,
            }
        )


@pytest.mark.parametrize("pattern", ["((a+)+)+b", "(.*.*)*x", "(?:[a-z._0-9]+)*!"])
def test_a_pattern_that_never_ends_is_stopped(pattern: str) -> None:
    with pytest.raises(InvalidAdapterError, match="list the modules' names instead"):
        check_patterns({pattern: pattern}, ["a" * 60], timeout_seconds=1)


def test_plain_names_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", None)

    check_patterns(dict.fromkeys(["q_proj", "^model.layers.0.mlp$", r"layers\.1\.up_proj"], "x"), MODULES)
