"""The whole way on the embedded base: QLoRA training, plain PEFT, and the engine, which must agree."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.config import LoraConfig
from base.loader import LoadOptions, load
from base.rendering import create_renderer
from base.source import BaseSource
from corpus.records import Record
from service.engine.engine import Engine
from service.engine.metrics import EngineMetrics
from service.engine.request import AdapterSource, AdapterUse, EngineConfig, GenerationRequest, SamplingParams
from training.artifacts.output import Finished, write_output
from training.config import TrainingConfig
from training.layers.lora import LoraLinear
from training.loop import Trainer
from training.rows.examples import Encoder, prepare
from training.run import TrainingData, TrainingResult

pytestmark = pytest.mark.slow

THINGS = ("refund", "invoice", "password", "delivery", "login", "parcel", "payment", "account", "courier", "charge")
QUEUES = {
    "refund": "billing",
    "invoice": "billing",
    "payment": "billing",
    "charge": "billing",
    "password": "access",
} | {"login": "access", "account": "access", "delivery": "shipping", "parcel": "shipping", "courier": "shipping"}
ASKS = ("My {} is wrong.", "I have a question about the {}.", "Please help me with my {}!")
MAX_EXCUSED_GAP = 1e-3


def record(thing: str, ask: str) -> Record:
    messages = (
        {"role": "user", "content": ask.format(thing)},
        {"role": "assistant", "content": f"queue={QUEUES[thing]}; item={thing}"},
    )
    return Record(kind="chat", file="tickets.jsonl", line=1, row={}, messages=messages)


TRAIN = [record(thing, ask) for ask in ASKS[:2] for thing in THINGS]
HELD_OUT = [record(thing, ASKS[2]) for thing in THINGS[::2]]


@pytest.fixture(scope="module")
def trained(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    """An nf4 run of twelve steps."""
    base = load(BaseSource("smollm2", smollm2), LoadOptions(device="cpu", quantization="nf4"))
    renderer = create_renderer(base.tokenizer)
    encoder = Encoder(base.tokenizer, renderer)
    data = TrainingData(
        train=prepare(TRAIN, encoder, 128), valid=prepare(HELD_OUT, encoder, 128), digest="sha256:" + "0" * 64
    )
    config = TrainingConfig(rank=8, alpha=16, learning_rate=2e-3, batch_size=5, max_steps=12, eval_every=100)
    output = tmp_path_factory.mktemp("trained")

    def finish(layers: dict[str, LoraLinear], adapter: LoraConfig, result: TrainingResult) -> None:
        write_output(
            output,
            layers,
            adapter,
            Finished(base=base, renderer=renderer, config=config, data=data, result=result),
        )

    trainer = Trainer(base, config, data, output, listen=lambda _: None)
    return output, trainer.run(finish, resume=False)


def test_qlora_learns_what_it_was_not_shown(trained: tuple[Path, TrainingResult]) -> None:
    _, result = trained
    assert result.base_valid_loss is not None
    assert result.valid_loss is not None
    assert result.valid_loss < 0.3 * result.base_valid_loss


def test_the_engine_answers_as_plain_peft_does(
    trained: tuple[Path, TrainingResult], smollm2: Path, peft_model: Callable[..., Any]
) -> None:
    output, _ = trained
    base = load(BaseSource("smollm2", smollm2), LoadOptions(device="cpu"))
    renderer = create_renderer(base.tokenizer)
    engine = Engine(base, EngineConfig(), EngineMetrics("smollm2"))
    adapter = AdapterSource("sha256:trained", output)
    ends = frozenset(renderer.identity.end_of_turn_ids)
    prompts = [tuple(renderer.prompt(held_out.prompt_messages)) for held_out in HELD_OUT]
    pairs = [(prompt, model) for prompt in prompts for model in (None, adapter)]
    params = SamplingParams(max_tokens=24)
    uses: dict[AdapterSource | None, tuple[AdapterUse, ...]] = {None: (), adapter: (AdapterUse(adapter),)}
    with engine._changed:
        streams = [
            engine.submit(GenerationRequest(prompt_ids=prompt, params=params, stop_ids=ends, adapters=uses[model]))
            for prompt, model in pairs
        ]
    answers = [stream.answer() for stream in streams]
    engine.close()
    models = {None: peft_model(None, smollm2), adapter: peft_model(output, smollm2)}
    excused = sum(
        _differs_at_a_tie(models[model], prompt, answer.token_ids)
        for (prompt, model), answer in zip(pairs, answers, strict=True)
    )
    assert excused <= 1
    tuned = [answer.text for answer, (_, model) in zip(answers, pairs, strict=True) if model is adapter]
    assert sum("queue=" in text for text in tuned) >= 4


@torch.no_grad()
def _differs_at_a_tie(model: Any, prompt: tuple[int, ...], found: tuple[int, ...]) -> bool:
    """Every token is the oracle's own choice after those before it, or one that it can hardly tell from its choice."""
    logits = model(torch.tensor([prompt + found])).logits[0, len(prompt) - 1 : -1]
    ties = 0
    for at, token in enumerate(found):
        gap = float(logits[at].max() - logits[at, token])
        assert gap < MAX_EXCUSED_GAP, f"token {at}: {found}, {gap} below the oracle's choice"
        ties += gap > 0
    return ties > 0
