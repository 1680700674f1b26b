import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.config import LoraConfig
from adapters.errors import InvalidAdapterError
from adapters.peft_keys import FREE, INERT, READ, UNSUPPORTED

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import peft
    from peft.utils.other import get_pattern_key

MINIMAL = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}


def from_peft(**changes: Any) -> LoraConfig:
    return LoraConfig.from_peft({**MINIMAL, **changes})


def test_a_configuration_survives_being_written_and_read(tmp_path: Path) -> None:
    config = LoraConfig(
        rank=8,
        alpha=12.5,
        target_modules=("q_proj", "v_proj"),
        rslora=True,
        dora=True,
        rank_pattern={"q_proj": 4},
        alpha_pattern={"layers.1.*v_proj": 3},
        exclude_modules=("layers.0.self_attn.v_proj",),
        layers_to_transform=(0, 1),
        layers_pattern=("layers",),
        dropout=0.05,
        base_model_name="tiny",
    )
    config.write(tmp_path)

    assert LoraConfig.read(tmp_path) == config
    assert json.loads((tmp_path / "adapter_config.json").read_text())["r"] == 8


def test_peft_reads_what_is_written_and_lorad_what_peft_writes(tmp_path: Path) -> None:
    config = LoraConfig(rank=8, alpha=16, target_modules="all-linear", alpha_pattern={"q_proj": 4.0})
    config.write(tmp_path)

    loaded = peft.PeftConfig.from_pretrained(str(tmp_path))
    loaded.save_pretrained(str(tmp_path))

    assert isinstance(loaded, peft.LoraConfig)
    assert (loaded.r, loaded.lora_alpha, loaded.target_modules) == (8, 16, "all-linear")
    assert LoraConfig.read(tmp_path) == config


def test_the_installed_pefts_defaults_are_accepted_and_every_key_is_known() -> None:
    defaults = peft.LoraConfig().to_dict()
    known = READ | FREE | INERT.keys() | UNSUPPORTED.keys() | {"peft_type", "task_type", "bias", "init_lora_weights"}

    assert defaults.keys() == known
    assert {key: defaults[key] for key in INERT} == INERT
    assert {key for key, value in defaults.items() if key in UNSUPPORTED and value not in (None, False, {})} == set()
    LoraConfig.from_peft({**defaults, "peft_type": "LORA", "target_modules": ["q_proj"]})


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_an_unknown_key_that_is_off_is_accepted(value: Any) -> None:
    assert from_peft(use_something_new=value) == from_peft()


@pytest.mark.parametrize("value", [True, 0, 0.0, 1, "x", [None], {"a": None}])
def test_an_unknown_key_that_is_on_is_refused_with_the_nearest_key(value: Any) -> None:
    with pytest.raises(InvalidAdapterError, match=r"use_dorra = .*nearest known key: 'use_dora'"):
        from_peft(use_dorra=value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("modules_to_save", ["lm_head"]),
        ("bias", "all"),
        ("bias", True),
        ("peft_type", "IA3"),
        ("task_type", "SEQ_CLS"),
        ("auto_mapping", {"parent_library": "os"}),
        ("trainable_token_indices", [1]),
        ("layer_replication", [[0, 1]]),
        ("alora_invocation_tokens", [1]),
        ("loftq_config", {"loftq_bits": 4}),
        ("corda_config", {"corda_method": "ipm"}),
        ("use_qalora", True),
        ("qalora_group_size", 32),
        ("megatron_config", {"a": 1}),
        ("megatron_core", "evil.module"),
        ("lora_bias", True),
        ("fan_in_fan_out", True),
        ("target_parameters", ["w"]),
        ("init_lora_weights", "pissa_niter_16"),
        ("init_lora_weights", "olora"),
        ("init_lora_weights", "loftq"),
        ("init_lora_weights", "something"),
        ("init_lora_weights", 1),
    ],
)
def test_what_is_not_supported_is_refused_by_key(key: str, value: Any) -> None:
    with pytest.raises(InvalidAdapterError, match=f"adapter_config.json: {key} = "):
        from_peft(**{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("r", 0),
        ("r", 10_000),
        ("r", "8"),
        ("r", True),
        ("r", None),
        ("lora_alpha", 0),
        ("lora_alpha", "16"),
        ("lora_dropout", 1.0),
        ("target_modules", None),
        ("target_modules", []),
        ("target_modules", [1]),
        ("rank_pattern", {"q_proj": 0}),
        ("rank_pattern", {"q_proj": "4"}),
        ("rank_pattern", {f"m{n}": 1 for n in range(5000)}),
        ("rank_pattern", {"a" * 5000: 1}),
        ("alpha_pattern", {"q_proj": -1}),
        ("layers_to_transform", ["1"]),
        ("use_rslora", "yes"),
        ("base_model_name_or_path", 3),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused(key: str, value: Any) -> None:
    with pytest.raises(InvalidAdapterError, match=r"adapter_config\.json"):
        from_peft(**{key: value})


def test_a_missing_type_is_refused() -> None:
    with pytest.raises(InvalidAdapterError, match="no peft_type"):
        LoraConfig.from_peft({"r": 8})


def test_layers_cannot_be_chosen_beside_a_pattern() -> None:
    with pytest.raises(InvalidAdapterError, match="layers_to_transform"):
        from_peft(target_modules=".*q_proj", layers_to_transform=[0])


KEYS = st.sampled_from(sorted(peft.LoraConfig().to_dict()))
TEXTS = st.text(max_size=5)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXTS,
    st.lists(TEXTS, max_size=2),
    st.dictionaries(TEXTS, st.integers() | st.floats()),
)


@given(st.dictionaries(KEYS, VALUES))
def test_any_values_are_read_or_refused(values: dict[str, Any]) -> None:
    try:
        LoraConfig.from_peft({**MINIMAL, **values})
    except InvalidAdapterError:
        return


def test_scaling_follows_the_module() -> None:
    config = LoraConfig(
        rank=8, alpha=16, target_modules="all-linear", rank_pattern={"q_proj": 4}, alpha_pattern={"v_proj": 32}
    )
    scalings = {name: config.scaling(f"model.layers.0.self_attn.{name}") for name in ("q_proj", "k_proj", "v_proj")}

    assert scalings == {"q_proj": 4.0, "k_proj": 2.0, "v_proj": 4.0}
    assert config.max_rank == 8


def test_rslora_scales_by_the_root_of_the_modules_rank() -> None:
    config = LoraConfig(rank=8, alpha=16, target_modules="all-linear", rslora=True, rank_pattern={"q_proj": 4})

    assert config.scaling("a.q_proj") == 8.0
    assert config.scaling("a.k_proj") == pytest.approx(16 / math.sqrt(8))


PATTERN = st.sampled_from(
    [
        "q_proj",
        "^model",
        "layers.1.*q_proj",
        r"layers\.\d\.self_attn.q_proj",
        "^model.layers.0.mlp.up_proj",
        "proj",
        ".*",
    ]
)
MODULE = st.sampled_from(
    [
        "model.layers.0.self_attn.q_proj",
        "model.layers.1.self_attn.q_proj",
        "model.layers.0.mlp.up_proj",
        "q_proj",
        "xq_proj",
    ]
)


@given(st.dictionaries(PATTERN, st.integers(1, 64), max_size=4), MODULE)
def test_patterns_match_as_peft_matches_them(patterns: dict[str, int], module: str) -> None:
    config = LoraConfig(rank=99, alpha=99, target_modules="all-linear", rank_pattern=patterns, alpha_pattern=patterns)
    expected = patterns.get(get_pattern_key(list(patterns), module), 99)

    assert config.rank_of(module) == expected
    assert config.alpha_of(module) == expected


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidAdapterError, match=re.escape("adapter_config.json is missing")):
        LoraConfig.read(tmp_path)
