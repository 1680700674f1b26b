from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapters.config import LoraConfig
from adapters.manifest import Manifest
from base.loader import LoadedBase, LoadOptions, load
from base.rendering import Renderer, create_renderer
from base.source import BaseSource
from corpus.records import Record
from training.artifacts.output import Finished, write_output
from training.config import TrainingConfig
from training.events import Event, StepEvent
from training.layers.lora import LoraLinear
from training.loop import Trainer
from training.objectives.objective import Objective
from training.rows.examples import Encoder, Prepared, prepare
from training.run import TrainingData, TrainingResult

TEXTS = (
    ("hello", "hello there"),
    ("what is the answer?", "the answer is 42"),
    ("one", "1"),
    ("say the text of the ticket again", "the text of the ticket, again and again"),
    ("a", "b"),
    ("count", "1 2 3 4 5"),
    ("refund", "orders and refunds"),
)
SETTINGS = {
    "rank": 4,
    "alpha": 8,
    "learning_rate": 5e-3,
    "batch_size": 2,
    "max_steps": 6,
    "max_length": 128,
    "eval_every": 100,
    "save_every": 100,
}


def chat_record(prompt: str, answer: str, line: int = 1) -> Record:
    messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": answer})
    return Record(kind="chat", file="data.jsonl", line=line, row={}, messages=messages)


@pytest.fixture(scope="session")
def load_base(tiny_base_folder: Path) -> Callable[..., LoadedBase]:
    """`load_base(quantization="none", folder=…)`"""

    def load_one(quantization: Any = "none", folder: Path | None = None) -> LoadedBase:
        source = BaseSource("tiny", folder or tiny_base_folder)
        return load(source, LoadOptions(device="cpu", quantization=quantization))

    return load_one


@pytest.fixture
def base(load_base: Callable[..., LoadedBase]) -> LoadedBase:
    return load_base()


@pytest.fixture
def renderer(base: LoadedBase) -> Renderer:
    return create_renderer(base.tokenizer)


@pytest.fixture
def rows(base: LoadedBase, renderer: Renderer) -> Prepared:
    """Seven conversations of different lengths."""
    records = [chat_record(prompt, answer) for prompt, answer in TEXTS]
    return prepare(records, Encoder(base.tokenizer, renderer), 128)


@dataclass
class Run:
    """What one run did."""

    output: Path
    events: list[Event] = field(default_factory=list)
    result: TrainingResult | None = None
    manifest: Manifest | None = None

    @property
    def losses(self) -> list[float]:
        return [event.loss for event in self.events if isinstance(event, StepEvent)]

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.output / "adapter_model.safetensors")


@pytest.fixture
def train(base: LoadedBase, rows: Prepared, tmp_path: Path) -> Callable[..., Run]:
    """`train(name="out", resume=…, should_stop=…, base=…, data=…, objective=…, initial=…, **settings)` runs to the end.

    The run is also given to `seen` before it begins, for those that do not end well.
    """

    def run(
        name: str = "out",
        *,
        resume: bool = False,
        should_stop: Callable[[Run], bool] = lambda run: False,  # noqa: ARG005
        base: LoadedBase = base,
        data: TrainingData | None = None,
        seen: Run | None = None,
        objective: Objective | None = None,
        initial: Path | None = None,
        **settings: Any,
    ) -> Run:
        done = seen or Run(tmp_path / name)
        done.output = tmp_path / name
        data = data or TrainingData(train=rows, digest="sha256:" + "0" * 64)
        config = TrainingConfig(**{**SETTINGS, **settings})

        def finish(layers: dict[str, LoraLinear], adapter: LoraConfig, result: TrainingResult) -> None:
            renderer = create_renderer(base.tokenizer)
            told = Finished(base=base, renderer=renderer, config=config, data=data, result=result)
            done.manifest = write_output(done.output, layers, adapter, told)

        trainer = Trainer(
            base,
            config,
            data,
            done.output,
            listen=done.events.append,
            should_stop=lambda: should_stop(done),
            objective=objective,
            initial=initial,
        )
        done.result = trainer.run(finish, resume=resume)
        return done

    return run


@pytest.fixture
def with_valid(rows: Prepared) -> TrainingData:
    """Five rows to train on, two to measure by."""
    train = Prepared(rows.examples[:5], 0, ())
    valid = Prepared(rows.examples[5:], 0, ())
    return TrainingData(train=train, valid=valid, digest="sha256:" + "0" * 64, valid_digest="sha256:" + "1" * 64)
