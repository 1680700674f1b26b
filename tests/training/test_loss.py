from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from base.loader import LoadedBase
from base.rendering import Example
from training.batches import in_length_order, make_batch
from training.config import TrainingConfig
from training.examples import Prepared
from training.lora import LoraLinear, inject
from training.loss import labelled_nll, mean_nll

CPU = torch.device("cpu")
FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma3")


def with_adapter(model: torch.nn.Module) -> dict[str, LoraLinear]:
    """Injects an adapter that changes the output."""
    layers = inject(model, TrainingConfig(rank=4, alpha=8))
    torch.manual_seed(5)
    for layer in layers.values():
        torch.nn.init.normal_(layer.lora_b_OR, std=0.1)
    return layers


def loss_and_gradients(
    model: torch.nn.Module, layers: Mapping[str, LoraLinear], examples: Sequence[Example], batches: Sequence[Any]
) -> tuple[float, list[torch.Tensor]]:
    """The sum over `batches` of (rows, layout), and the gradient of each adapter matrix."""
    parameters = [weight for layer in layers.values() for weight in (layer.lora_a_RI, layer.lora_b_OR)]
    total = sum(labelled_nll(model, make_batch(examples, rows, layout, CPU)) for rows, layout in batches)
    assert isinstance(total, torch.Tensor)
    return total.item(), list(torch.autograd.grad(total, parameters))


def test_the_loss_is_that_of_transformers(base: LoadedBase, rows: Prepared) -> None:
    batch = make_batch(rows.examples, range(7), "padded", CPU)
    labels = torch.full_like(batch.input_ids_RT, -100)
    for at, example in enumerate(rows.examples):
        for place, flag in enumerate(example.labelled):
            labels[at, place] = example.input_ids[place] if flag else -100
    out = base.model(input_ids=batch.input_ids_RT, attention_mask=batch.attention_mask_RT, labels=labels)
    mean = labelled_nll(base.model, batch) / batch.num_labelled
    torch.testing.assert_close(mean, out.loss, rtol=1e-5, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_padded_and_one_by_one_are_the_same_to_the_gradient(
    family: str, load_base: Callable[..., LoadedBase], family_folder: Callable[[str], Path], rows: Prepared
) -> None:
    model = load_base(folder=family_folder(family)).model
    layers = with_adapter(model)
    order = [3, 0, 6, 2, 1]
    alone, expected = loss_and_gradients(model, layers, rows.examples, [([row], "padded") for row in order])
    for layout in ("packed", "padded"):
        found, gradients = loss_and_gradients(model, layers, rows.examples, [(order, layout)])
        assert found == pytest.approx(alone, rel=1e-5)
        for gradient, wanted in zip(gradients, expected, strict=True):
            assert (gradient - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_does_not_see_its_neighbours_in_a_pack(
    family: str, load_base: Callable[..., LoadedBase], family_folder: Callable[[str], Path], rows: Prepared
) -> None:
    model = load_base(folder=family_folder(family)).model
    first, second = rows.examples[3], rows.examples[1]
    silent = Example(first.input_ids, (False,) * len(first.input_ids))
    other = Example(tuple(reversed(first.input_ids)), silent.labelled)
    with torch.no_grad():
        losses = [
            labelled_nll(model, make_batch([before, second], [0, 1], "packed", CPU)).item()
            for before in (silent, other)
        ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_the_first_token_of_a_row_counts_nowhere(base: LoadedBase) -> None:
    examples = [Example((5, 6, 7), (True, True, True)), Example((8, 9), (True, True))]
    for layout in ("packed", "padded"):
        batch = make_batch(examples, [0, 1], layout, CPU)
        assert batch.num_labelled == sum(example.num_labelled for example in examples) == 3
        assert batch.targets_L.tolist() == [6, 7, 9]
    assert labelled_nll(base.model, batch).isfinite()


def test_the_mean_is_over_all_tokens_whatever_the_batches(base: LoadedBase, rows: Prepared) -> None:
    def mean(batch_size: int) -> float:
        batches = in_length_order(rows.examples, batch_size)
        return mean_nll(base.model, (make_batch(rows.examples, chosen, "padded", CPU) for chosen in batches))

    assert mean(1) == pytest.approx(mean(3), rel=1e-6)
    assert mean(1) == pytest.approx(mean(7), rel=1e-6)
