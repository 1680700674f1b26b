"""PiSSA and OLoRA: what is trained, and that it is published for the untouched base."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from adapters.config import LoraConfig
from base.loader import LoadedBase
from base.rendering import Renderer
from corpus.records import Record
from training.artifacts.output import write_output
from training.config import TrainingConfig
from training.errors import ConfigError, Stopped
from training.layers.lora import inject
from training.layers.start import start
from training.rows.examples import Encoder, prepare
from training.run import TrainingData

Train = Callable[..., Any]
INITS = ("pissa", "olora")
IDS = torch.arange(4, 40)[None]


def low_rank(rows: int, columns: int, rank: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(rows, rank) @ torch.randn(rank, columns)


@pytest.mark.parametrize("kind", INITS)
def test_a_weight_of_that_rank_is_taken_whole(kind: Any) -> None:
    weight = low_rank(30, 20, 4)
    b, a = start(weight, 4, kind)
    torch.testing.assert_close(b @ a, weight, rtol=1e-4, atol=1e-4)


def test_pissa_takes_the_largest_singular_values() -> None:
    torch.manual_seed(0)
    weight = torch.randn(60, 40)
    b, a = start(weight, 4, "pissa")
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    best = (weight - u[:, :4] * s[:4] @ v[:4]).norm()
    assert (weight - b @ a).norm() == pytest.approx(float(best), rel=0.02)
    torch.testing.assert_close(b.norm(dim=0), a.norm(dim=1))


@pytest.mark.parametrize("kind", INITS)
def test_a_rank_that_the_weight_does_not_have_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigError, match="at most 8"):
        start(torch.randn(8, 20), 9, kind)


@pytest.mark.parametrize("kind", INITS)
def test_before_the_first_step_the_model_is_the_base(kind: str, base: LoadedBase) -> None:
    expected = base.model(IDS).logits
    layers = inject(base.model, TrainingConfig(rank=4, init=kind))
    torch.testing.assert_close(base.model(IDS).logits, expected, rtol=1e-4, atol=1e-4)
    assert all(layer.lora_b_OR.any() for layer in layers.values())


@pytest.mark.parametrize("change", [{}, {"rslora": True}, {"dora": True}, {"lora_plus_ratio": 4.0}], ids=str)
@pytest.mark.parametrize("kind", INITS)
def test_the_published_adapter_on_the_untouched_base_is_the_trained_model(
    kind: str,
    change: dict[str, Any],
    train: Train,
    base: LoadedBase,
    peft_model: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained: list[torch.Tensor] = []

    def finish(*told: Any) -> Any:
        trained.append(base.model(IDS, use_cache=False).logits)
        return write_output(*told)

    monkeypatch.setitem(train.__globals__, "write_output", finish)
    untouched = base.model(IDS).logits
    run = train(init=kind, **change)
    assert run.losses[-1] != run.losses[0]
    theirs = peft_model(run.output)(IDS).logits
    torch.testing.assert_close(theirs, trained[0], rtol=0, atol=1e-4)
    assert not torch.allclose(theirs, untouched, rtol=1e-3, atol=1e-3)
    assert torch.equal(base.model(IDS).logits, untouched)
    published = LoraConfig.read(run.output)
    assert published.rank == 8
    assert {tensor.shape[0] for name, tensor in run.weights.items() if "lora_A" in name} == {8}
    assert published.scaling("any") == pytest.approx(8 / (math.sqrt(4) if "rslora" in change else 4), rel=1e-12)


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_a_quantised_base_stays_as_it_is_and_begins_as_it_answers(
    quantization: str, load_base: Callable[..., LoadedBase], with_valid: TrainingData, train: Train
) -> None:
    base = load_base(quantization)
    untouched = base.model(IDS).logits
    run = train(base=base, data=with_valid, init="pissa", max_steps=10, epochs=20, batch_size=5)
    assert torch.equal(base.model(IDS).logits, untouched)
    assert run.result.valid_loss < run.result.base_valid_loss


@pytest.mark.parametrize("kind", INITS)
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(kind: str, train: Train) -> None:
    whole = train("whole", init=kind)
    with pytest.raises(Stopped):
        train("parts", init=kind, should_stop=lambda run: len(run.losses) == 3)
    torch.rand(17)
    rest = train("parts", init=kind, resume=True)
    assert rest.losses == whole.losses[3:]
    assert all(torch.equal(rest.weights[name], weight) for name, weight in whole.weights.items())


def test_dropout_is_refused_beside_it() -> None:
    with pytest.raises(ValueError, match="take no dropout"):
        TrainingConfig(init="pissa", dropout=0.1)


def test_raw_text_trains_by_every_method_of_supervised_learning(
    train: Train, base: LoadedBase, renderer: Renderer
) -> None:
    texts = ["the answer is 42, the answer is 42", "orders and refunds and orders", "1 2 3 4 5 6 7"]
    records = [Record(kind="text", file="f", line=at, row={}, text=text) for at, text in enumerate(texts, 1)]
    rows = prepare(records, Encoder(base.tokenizer, renderer), 128)
    data = TrainingData(train=rows, digest="sha256:" + "0" * 64)
    changes: list[dict[str, Any]] = [{}, {"init": "pissa"}, {"init": "olora"}, {"lora_plus_ratio": 4.0}]
    for at, change in enumerate(changes):
        run = train(str(at), data=data, max_steps=8, epochs=20, batch_size=3, **change)
        assert run.losses[-1] < run.losses[0]
