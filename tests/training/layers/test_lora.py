import warnings
from typing import Any

import pytest
import torch
from torch import nn

from base.int8 import Int8Linear
from base.loader import LoadedBase
from base.shapes import module_shapes
from training.config import TrainingConfig
from training.errors import ConfigError
from training.layers.lora import LoraLinear, adapters_off, inject, remove, target_names, targeted

with warnings.catch_warnings():
    # PEFT 0.21 uses what torch 2.13 deprecates.
    warnings.simplefilter("ignore")
    from peft import LoraConfig, inject_adapter_in_model

KINDS = [{}, {"rslora": True}, {"dora": True}, {"dora": True, "rslora": True}]


def pair(*, bias: bool, **kind: bool) -> tuple[LoraLinear, Any]:
    """Our layer and PEFT's around the same linear layer, with the same weights."""
    torch.manual_seed(0)
    linear = nn.Linear(24, 20, bias=bias)
    peft_config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["0"],
        use_rslora=kind.get("rslora", False),
        use_dora=kind.get("dora", False),
        init_lora_weights=False,
    )
    copy = nn.Linear(24, 20, bias=bias)
    copy.load_state_dict(linear.state_dict())
    wrapped: Any = inject_adapter_in_model(peft_config, nn.Sequential(copy))
    theirs = wrapped[0]
    linear.requires_grad_(requires_grad=False)
    ours = LoraLinear(linear, (20, 24), TrainingConfig(rank=4, alpha=8, **kind))
    with torch.no_grad():
        ours.lora_a_RI.copy_(theirs.lora_A["default"].weight)
        ours.lora_b_OR.copy_(theirs.lora_B["default"].weight)
        if ours.magnitude_O is not None:
            magnitude = theirs.lora_magnitude_vector["default"].weight
            magnitude.mul_(1 + 0.2 * torch.randn(20))
            ours.magnitude_O.copy_(magnitude)
    return ours, theirs


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_output_and_gradients_are_those_of_peft(kind: dict[str, bool], bias: bool) -> None:
    ours, theirs = pair(bias=bias, **kind)
    x, upstream = torch.randn(3, 5, 24), torch.randn(3, 5, 20)
    x_ours, x_theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out = ours(x_ours)
    torch.testing.assert_close(out, theirs(x_theirs))
    (out * upstream).sum().backward()
    (theirs(x_theirs) * upstream).sum().backward()
    torch.testing.assert_close(x_ours.grad, x_theirs.grad)
    torch.testing.assert_close(ours.lora_a_RI.grad, theirs.lora_A["default"].weight.grad)
    torch.testing.assert_close(ours.lora_b_OR.grad, theirs.lora_B["default"].weight.grad, rtol=1e-5, atol=1e-5)
    if ours.magnitude_O is not None:
        expected = theirs.lora_magnitude_vector["default"].weight.grad
        torch.testing.assert_close(ours.magnitude_O.grad, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_adapter_changes_nothing(kind: dict[str, bool]) -> None:
    linear = nn.Linear(24, 20)
    layer = LoraLinear(linear, (20, 24), TrainingConfig(**kind))
    x = torch.randn(7, 24)
    torch.testing.assert_close(layer(x), linear(x))


def test_dora_over_an_int8_layer_takes_its_dequantised_length() -> None:
    linear = nn.Linear(24, 20)
    layer = LoraLinear(Int8Linear(linear), (20, 24), TrainingConfig(dora=True))
    assert layer.magnitude_O is not None
    torch.testing.assert_close(layer.magnitude_O.detach(), linear.weight.detach().norm(dim=1), rtol=0.01, atol=0)


def test_dropout_falls_only_in_training() -> None:
    layer = LoraLinear(nn.Linear(24, 20), (20, 24), TrainingConfig(dropout=0.5))
    nn.init.normal_(layer.lora_b_OR)
    x = torch.randn(7, 24)
    assert not torch.equal(layer.train()(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))


def test_injecting_and_removing_gives_the_model_back(base: LoadedBase) -> None:
    ids = torch.arange(20)[None]
    before = {name: id(module) for name, module in base.model.named_modules()}
    expected = base.model(ids).logits
    layers = inject(base.model, TrainingConfig(rank=4))
    assert set(layers) == {name for name in before if name.endswith("_proj")}
    for layer in layers.values():
        nn.init.normal_(layer.lora_b_OR)
    assert not torch.equal(base.model(ids).logits, expected)
    with adapters_off(layers):
        assert torch.equal(base.model(ids).logits, expected)
    remove(base.model, layers)
    assert {name: id(module) for name, module in base.model.named_modules()} == before


def test_a_failing_injection_leaves_the_model_as_it_was(base: LoadedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: id(module) for name, module in base.model.named_modules()}
    made: list[object] = []

    def fail(*_: object) -> torch.Tensor:
        made.append(None)
        if len(made) > 3:
            raise MemoryError
        return torch.ones(1, 1)

    monkeypatch.setattr("training.layers.lora.dense_weight", fail)
    with pytest.raises(MemoryError):
        inject(base.model, TrainingConfig(dora=True))
    assert {name: id(module) for name, module in base.model.named_modules()} == before


def test_the_same_seed_gives_the_same_beginning_whatever_was_drawn_before(base: LoadedBase) -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.rand(seed + 3)
        layers = inject(base.model, TrainingConfig(seed=seed))
        drawn.append(torch.cat([layer.lora_a_RI.detach().flatten() for layer in layers.values()]))
        remove(base.model, layers)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_targets_match_whole_names_and_last_parts(base: LoadedBase) -> None:
    shapes = module_shapes(base.model)
    assert targeted(shapes, "all-linear") == list(shapes)
    assert len(targeted(shapes, ["q_proj", "mlp.up_proj"])) == 4
    assert targeted(shapes, ["model.layers.0.self_attn.q_proj"]) == ["model.layers.0.self_attn.q_proj"]


@pytest.mark.parametrize(
    ("targets", "message"),
    [(["q_porj"], "did you mean q_proj"), (["lm_head"], "lm_head"), (["proj"], "'proj'"), ([], "is empty")],
)
def test_a_target_that_matches_nothing_is_refused(base: LoadedBase, targets: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        targeted(module_shapes(base.model), targets)


def test_published_targets_say_exactly_which_modules(base: LoadedBase) -> None:
    shapes = module_shapes(base.model)
    queries = targeted(shapes, ["q_proj"])
    assert target_names(shapes, queries) == ("q_proj",)
    assert target_names(shapes, queries[:1]) == ("model.layers.0.self_attn.q_proj",)
    # One of the two kinds is whole, the other is not: last parts would say too much.
    mixed = [*queries, "model.layers.1.mlp.up_proj"]
    assert targeted(shapes, target_names(shapes, mixed)) == [name for name in shapes if name in mixed]
