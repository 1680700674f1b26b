from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from base.loader import LoadedBase
from base.rendering import Example
from training.config import TrainingConfig
from training.layers.lora import inject
from training.layers.network import Network
from training.objectives.objective import mean_loss
from training.objectives.supervised import Supervised
from training.objectives.whole_model import labelled_nll
from training.rows.batches import Batch, Layout, make_batch
from training.rows.examples import Prepared
from training.rows.order import passes

CPU = torch.device("cpu")
FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma3")
CONFIG = TrainingConfig(rank=4, alpha=8)
SUPERVISED = Supervised()


@pytest.fixture
def network(
    family: str, load_base: Callable[..., LoadedBase], family_folder: Callable[[str], Path]
) -> Iterator[Network]:
    """With an adapter that changes the output."""
    network = Network(load_base(folder=family_folder(family)).model, CONFIG)
    torch.manual_seed(5)
    for layer in network.layers.values():
        torch.nn.init.normal_(layer.lora_b_OR, std=0.1)
    yield network
    network.close()


def gradients(loss: torch.Tensor, network: Network) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(network.parameters().values())))


def assert_close(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> None:
    for gradient, wanted in zip(found, expected, strict=True):
        assert (gradient - wanted).norm() <= 1e-5 * wanted.norm()


def summed(network: Network, batches: Sequence[Batch]) -> torch.Tensor:
    return torch.stack([SUPERVISED.total(network, batch) for batch in batches]).sum()


def test_the_loss_is_that_of_transformers(base: LoadedBase, rows: Prepared) -> None:
    batch = make_batch(rows.examples, range(7), "padded", CPU)
    labels = torch.full_like(batch.input_ids_RT, -100)
    for at, example in enumerate(rows.examples):
        for place, flag in enumerate(example.labelled):
            labels[at, place] = example.input_ids[place] if flag else -100
    out = base.model(input_ids=batch.input_ids_RT, attention_mask=batch.attention_mask_RT, labels=labels)
    whole = labelled_nll(base.model, batch).sum() / batch.num_labelled
    torch.testing.assert_close(whole, out.loss, rtol=1e-5, atol=0)
    fused = SUPERVISED.total(Network(base.model, CONFIG), batch) / batch.num_labelled
    torch.testing.assert_close(fused, out.loss, rtol=1e-5, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_fused_network_is_the_whole_model_to_the_gradient(
    family: str,
    network: Network,
    load_base: Callable[..., LoadedBase],
    family_folder: Callable[[str], Path],
    rows: Prepared,
) -> None:
    assert network.head is not None
    plain = load_base(folder=family_folder(family)).model
    layers = inject(plain, CONFIG)
    for name, layer in layers.items():
        layer.load_state_dict(network.layers[name].state_dict())
    parameters = [parameter for layer in layers.values() for parameter in (layer.lora_a_RI, layer.lora_b_OR)]
    batch = make_batch(rows.examples, range(7), "padded", CPU)
    expected = labelled_nll(plain, batch).sum()
    found = SUPERVISED.total(network, batch)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert_close(gradients(found, network), torch.autograd.grad(expected, parameters))


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_padded_and_one_by_one_are_the_same_to_the_gradient(network: Network, rows: Prepared) -> None:
    order = [3, 0, 6, 2, 1]
    alone = summed(network, [make_batch(rows.examples, [row], "padded", CPU) for row in order])
    expected = gradients(alone, network)
    layouts: tuple[Layout, ...] = ("packed", "padded")
    for layout in layouts:
        found = summed(network, [make_batch(rows.examples, order, layout, CPU)])
        assert found.item() == pytest.approx(alone.item(), rel=1e-5)
        assert_close(gradients(found, network), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_does_not_see_its_neighbours_in_a_pack(network: Network, rows: Prepared) -> None:
    first, second = rows.examples[3], rows.examples[1]
    silent = Example(first.input_ids, (False,) * len(first.input_ids))
    other = Example(tuple(reversed(first.input_ids)), silent.labelled)
    losses = [
        SUPERVISED.total(network, make_batch([before, second, before], [0, 1, 2], "packed", CPU))
        for before in (silent, other)
    ]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
    assert_close(gradients(losses[0], network), gradients(losses[1], network))


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_activation_checkpointing_changes_nothing(
    family: str, load_base: Callable[..., LoadedBase], family_folder: Callable[[str], Path], rows: Prepared
) -> None:
    found = []
    for checkpointed in (False, True):
        config = TrainingConfig(rank=4, activation_checkpointing=checkpointed)
        network = Network(load_base(folder=family_folder(family)).model.train(), config)
        kept: list[torch.Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: kept.append(x) or x, lambda x: x):  # type: ignore[misc]
            loss = summed(network, [make_batch(rows.examples, range(4), "packed", CPU)])
        found.append((loss.item(), gradients(loss, network), len(kept)))
        network.close()
    (first, expected, num_kept), (second, computed_again, num_kept_again) = found
    assert second == first
    assert_close(computed_again, expected)
    assert num_kept_again < num_kept / 2


def test_the_first_token_of_a_row_counts_nowhere(base: LoadedBase) -> None:
    examples = [Example((5, 6, 7), (True, True, True)), Example((8, 9), (True, True))]
    layouts: tuple[Layout, ...] = ("packed", "padded")
    for layout in layouts:
        batch = make_batch(examples, [0, 1], layout, CPU)
        assert batch.num_labelled == sum(example.num_labelled for example in examples) == 3
        assert batch.targets_L.tolist() == [6, 7, 9]
    assert labelled_nll(base.model, batch).isfinite().all()


def test_the_mean_is_over_all_tokens_whatever_the_batches(base: LoadedBase, rows: Prepared) -> None:
    network = Network(base.model, CONFIG)

    def mean(**settings: object) -> float:
        config = TrainingConfig(**settings)
        divided = passes(rows.examples, range(7), config)
        return mean_loss(SUPERVISED, network, [make_batch(rows.examples, part, config.layout, CPU) for part in divided])

    expected = mean(layout="padded", batch_size=7)
    assert mean(layout="padded", batch_size=1) == pytest.approx(expected, rel=1e-6)
    assert mean(layout="padded", batch_size=3) == pytest.approx(expected, rel=1e-6)
    assert mean(pack_tokens=64) == pytest.approx(expected, rel=1e-6)
