"""lorad's part of the training benchmarks, a process each: `training_worker.py WORK PLAN RESULT`.

encode: records to token rows. train: over given token rows. score: the held-out loss of anybody's adapter. products: a
run's bare products.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.files import WEIGHTS
from base.loader import LoadedBase, LoadOptions, load, load_tokenizer
from base.rendering import Example, create_renderer
from base.shapes import module_shapes
from base.source import BaseSource
from corpus import dataset
from training.artifacts.weights import read_layers, write_layers
from training.config import TrainingConfig
from training.events import Event, StepEvent
from training.layers.network import Network
from training.layers.products import Product, onednn, plain
from training.loop import Trainer
from training.objectives.objective import mean_loss
from training.objectives.supervised import Supervised
from training.rows.batches import make_batch
from training.rows.examples import Encoder, Prepared, prepare
from training.rows.order import Schedule, passes
from training.rows.parts import Part
from training.run import TrainingData, TrainingResult

_REPEATS = 3


def main() -> None:
    """Does what the first argument says."""
    plan = json.loads(Path(sys.argv[2]).read_text())
    torch.set_num_threads(plan["threads"])
    Path(sys.argv[3]).write_text(json.dumps(WORK[sys.argv[1]](plan)))


def encode(plan: dict[str, Any]) -> dict[str, object]:
    """Token rows of a file as `[ids, labelled]`, cut at `pack_tokens`, and the same in the order of lorad's steps."""
    tokenizer = load_tokenizer(BaseSource("base", Path(plan["base"])))
    records = dataset.load(Path(plan["records"])).records
    examples = prepare(records, Encoder(tokenizer, create_renderer(tokenizer)), plan["pack_tokens"]).examples
    schedule = Schedule(
        parts=(Part(len(examples)),),
        batch_size=plan["batch_size"],
        accumulation=1,
        epochs=1,
        max_steps=None,
        seed=plan["seed"],
    )
    rows = [[example.input_ids, example.labelled] for example in examples]
    steps = range(schedule.total_steps)
    return {"rows": rows, "in_order": [rows[row] for step in steps for row in schedule.step_rows(step)]}


def train(plan: dict[str, Any]) -> dict[str, object]:
    """One run, its adapter in `output`."""
    base, losses = _base(plan), []
    examples = _examples(plan["rows"])

    def listen(event: Event) -> None:
        if isinstance(event, StepEvent):
            losses.append(event.loss)

    def finish(layers: Any, adapter: Any, _result: TrainingResult) -> None:
        write_layers(Path(plan["output"]), layers, adapter)

    data = TrainingData(train=Prepared(examples, 0, ()), digest="")
    result = Trainer(base, _config(plan), data, Path(plan["output"]), listen=listen).run(finish, resume=False)
    return {
        "tokens": result.trained_tokens,
        "seconds": result.seconds,
        "losses": losses,
        "peak_memory_bytes": result.peak_memory_bytes,
    }


def score(plan: dict[str, Any]) -> dict[str, object]:
    """The loss on the held-out rows, of the base where `output` holds no adapter."""
    base, config = _base(plan), _config(plan)
    network = Network(base.model, config)
    if (Path(plan["output"]) / WEIGHTS).exists():
        read_layers(Path(plan["output"]), network.layers)
    examples = _examples(plan["held_out"])
    batches = [
        make_batch(examples, rows, "packed", base.device) for rows in passes(examples, range(len(examples)), config)
    ]
    return {"loss": mean_loss(Supervised(), network, batches)}


def products(plan: dict[str, Any]) -> dict[str, object]:
    """Seconds for one pack: forward and input gradient of every linear layer, and of the head at labelled positions."""
    base, examples = _base(plan), _examples(plan["rows"])
    share = sum(example.num_labelled for example in examples) / sum(len(example.input_ids) for example in examples)
    rows = int(plan["pack_tokens"])
    shapes = list(module_shapes(base.model).values())
    head = base.model.get_output_embeddings().weight
    counted = {shape: (shapes.count(shape), rows) for shape in set(shapes)}
    counted[head.shape[0], head.shape[1]] = (1, int(share * rows))
    return {
        "tokens": rows,
        "labelled_share": share,
        **{
            name: sum(number * _seconds(product, count, shape) for shape, (number, count) in counted.items())
            for name, product in {"torch": plain, "onednn": onednn}.items()
        },
    }


@torch.no_grad()
def _seconds(product: Product, rows: int, shape: tuple[int, int]) -> float:
    out_features, in_features = shape
    w_OI, x_NI, grad_NO = (torch.randn(*size) for size in (shape, (rows, in_features), (rows, out_features)))
    return _fastest(lambda: product(x_NI, w_OI)) + _fastest(lambda: product(grad_NO, w_OI.t()))


def _fastest(work: Callable[[], Tensor]) -> float:
    work()
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _base(plan: dict[str, Any]) -> LoadedBase:
    options = LoadOptions(device="cpu", quantization=plan["quantization"])
    return load(BaseSource("base", Path(plan["base"])), options)


def _config(plan: dict[str, Any]) -> TrainingConfig:
    names = ("batch_size", "layout", "pack_tokens", "rank", "alpha", "learning_rate", "warmup_ratio", "seed")
    return TrainingConfig(epochs=1, max_length=plan["pack_tokens"], **{name: plan[name] for name in names})


def _examples(path: str) -> tuple[Example, ...]:
    return tuple(Example(tuple(ids), tuple(labelled)) for ids, labelled in json.loads(Path(path).read_text()))


WORK: dict[str, Callable[[dict[str, Any]], dict[str, object]]] = {
    "encode": encode,
    "train": train,
    "score": score,
    "products": products,
}


if __name__ == "__main__":
    main()
