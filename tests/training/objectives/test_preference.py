"""DPO against the formula of the paper and of TRL's DPOTrainer, computed here row by row in float64."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from base.loader import LoadedBase
from base.rendering import Example
from training.config import TrainingConfig
from training.errors import Stopped
from training.events import EvalEvent, StepEvent
from training.layers.network import Network
from training.objectives.objective import mean_loss
from training.objectives.preference import Preference, pair_losses
from training.rows.batches import Batch, Layout, make_batch
from training.rows.examples import Prepared
from training.run import TrainingData

CPU = torch.device("cpu")
CONFIG = TrainingConfig(method="dpo", rank=4)
Train = Callable[..., Any]


@pytest.fixture
def pairs(rows: Prepared) -> Prepared:
    """Each row against its answer with the labelled tokens in another order."""

    def worse(example: Example) -> Example:
        labelled = [token for token, flag in zip(example.input_ids, example.labelled, strict=True) if flag]
        prompt = [token for token, flag in zip(example.input_ids, example.labelled, strict=True) if not flag]
        ids = (*prompt, *[5 + token % 40 for token in labelled], 9)
        return Example(ids, (False,) * len(prompt) + (True,) * (len(labelled) + 1))

    whole = [Example(row.input_ids, row.labelled) for row in rows.examples]
    return Prepared(tuple(whole), 0, (), tuple(worse(row) for row in whole))


@pytest.fixture
def data(pairs: Prepared) -> TrainingData:
    train = Prepared(pairs.examples[:5], 0, (), pairs.rejected[:5])
    valid = Prepared(pairs.examples[5:], 0, (), pairs.rejected[5:])
    return TrainingData(train=train, valid=valid, digest="sha256:" + "0" * 64)


@pytest.fixture
def network(base: LoadedBase) -> Network:
    found = Network(base.model, CONFIG)
    torch.manual_seed(3)
    for layer in found.layers.values():
        torch.nn.init.normal_(layer.lora_b_OR, std=0.05)
    return found


def batch_of(pairs: Prepared, rows: list[int], layout: Layout) -> Batch:
    return make_batch(pairs.examples, rows, layout, CPU, pairs.rejected)


@pytest.mark.parametrize(
    ("margin", "smoothing", "expected"),
    [
        (0.0, 0.0, 0.6931471805599453),
        (1.0, 0.0, 0.31326168751822286),
        (-2.0, 0.0, 2.1269280110429727),
        # 0.9 * 0.3132616875 + 0.1 * 1.3132616875
        (1.0, 0.1, 0.41326168751822284),
        (0.0, 0.25, 0.6931471805599453),
    ],
)
def test_the_loss_of_a_margin_is_trls(margin: float, smoothing: float, expected: float) -> None:
    found = pair_losses(torch.tensor([margin], dtype=torch.float64), smoothing)
    assert found.item() == pytest.approx(expected, rel=1e-14)


@torch.no_grad()
def log_likelihood(model: Any, example: Example) -> float:
    ids = torch.tensor([example.input_ids])
    log_p = model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
    each = log_p.gather(1, ids[0, 1:, None])[:, 0]
    return float(each[torch.tensor(example.labelled[1:])].sum())


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_a_batch_is_the_formula_over_its_pairs(network: Network, pairs: Prepared, layout: Layout) -> None:
    beta, smoothing, rows = 0.3, 0.05, [4, 0, 2]
    objective = Preference(beta, smoothing)
    found = objective.total(network, batch_of(pairs, rows, layout)).item()
    figures = objective.take_figures()
    network.close()
    chosen, rejected = [], []
    reference = [
        [log_likelihood(network.model, side[row]) for side in (pairs.examples, pairs.rejected)] for row in rows
    ]
    for name, layer in network.layers.items():
        parent, _, child = name.rpartition(".")
        setattr(network.model.get_submodule(parent), child, layer)
    policy = [[log_likelihood(network.model, side[row]) for side in (pairs.examples, pairs.rejected)] for row in rows]
    for ours, theirs in zip(policy, reference, strict=True):
        chosen.append(beta * (ours[0] - theirs[0]))
        rejected.append(beta * (ours[1] - theirs[1]))
    margins = [better - worse for better, worse in zip(chosen, rejected, strict=True)]
    expected = sum(
        (1 - smoothing) * math.log1p(math.exp(-margin)) + smoothing * math.log1p(math.exp(margin)) for margin in margins
    )
    assert found == pytest.approx(expected, rel=1e-4)
    assert figures["rewards/chosen"] == pytest.approx(sum(chosen) / 3, abs=1e-4)
    assert figures["rewards/rejected"] == pytest.approx(sum(rejected) / 3, abs=1e-4)
    assert figures["rewards/margins"] == pytest.approx(sum(margins) / 3, abs=1e-4)
    assert figures["rewards/accuracies"] == sum(margin > 0 for margin in margins) / 3
    assert objective.take_figures() == {}


def test_pairs_in_a_pack_do_not_see_each_other(network: Network, pairs: Prepared) -> None:
    objective = Preference(0.1)
    together = objective.total(network, batch_of(pairs, [0, 1, 2], "packed"))
    alone = torch.stack([objective.total(network, batch_of(pairs, [row], "padded")) for row in range(3)]).sum()
    assert together.item() == pytest.approx(alone.item(), rel=1e-5)
    parameters = list(network.parameters().values())
    for found, wanted in zip(
        torch.autograd.grad(together, parameters), torch.autograd.grad(alone, parameters), strict=True
    ):
        assert (found - wanted).norm() <= 1e-4 * wanted.norm()


def test_the_base_beside_itself_prefers_nothing(network: Network, pairs: Prepared) -> None:
    with network.adapters_off():
        loss = mean_loss(Preference(0.1), network, [batch_of(pairs, [0, 1], "packed")])
    assert loss == pytest.approx(math.log(2), rel=1e-7)
    assert all(layer.enabled for layer in network.layers.values())


@pytest.mark.parametrize("quantization", ["none", "int8", "nf4"])
def test_training_widens_the_margin_and_tells_it(
    train: Train, data: TrainingData, load_base: Callable[..., LoadedBase], quantization: str
) -> None:
    run = train(
        base=load_base(quantization), data=data, method="dpo", max_steps=12, epochs=20, batch_size=5, eval_every=6
    )
    steps = [event for event in run.events if isinstance(event, StepEvent)]
    evals = [event for event in run.events if isinstance(event, EvalEvent)]
    assert steps[0].loss == pytest.approx(math.log(2), rel=1e-3)
    assert steps[-1].loss < 0.5 * steps[0].loss
    assert steps[-1].figures["rewards/accuracies"] == 1.0
    assert evals[0].valid_loss == pytest.approx(math.log(2), abs=1e-6)
    assert evals[-1].figures["rewards/margins"] > 0
    assert run.manifest.metrics["rewards/accuracies"] == evals[-1].figures["rewards/accuracies"]


def test_accumulated_passes_are_one_big_batch(train: Train, data: TrainingData) -> None:
    settings = {"data": data, "method": "dpo", "max_steps": 3, "epochs": 9}
    whole = train("whole", batch_size=4, **settings)
    parts = train("parts", batch_size=2, gradient_accumulation=2, pack_tokens=40, **settings)
    assert parts.losses == pytest.approx(whole.losses, rel=1e-4)


@pytest.mark.parametrize("change", [{}, {"init": "pissa"}, {"lora_plus_ratio": 8.0, "rslora": True}], ids=str)
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(
    train: Train, data: TrainingData, change: dict[str, Any]
) -> None:
    settings = {"data": data, "method": "dpo", "epochs": 9, **change}
    whole = train("whole", **settings)
    with pytest.raises(Stopped):
        train("parts", should_stop=lambda run: len(run.losses) == 3, **settings)
    torch.rand(17)
    rest = train("parts", resume=True, **settings)
    assert rest.losses == whole.losses[3:]
    assert all(torch.equal(rest.weights[name], weight) for name, weight in whole.weights.items())
    assert rest.result.valid_figures == whole.result.valid_figures
