from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from adapters.manifest import BaseIdentity, Manifest, RenderingIdentity
from adapters.publication import Submission, publish
from base.loader import LoadOptions, load
from base.rendering import create_renderer
from base.source import BaseSource
from corpus.records import Record
from evaluation.errors import CaseError
from evaluation.results import ModelResult
from evaluation.settings import GenerationSettings
from service.evaluation import EvaluationRequest, evaluate_models
from service.inference import Inference
from service.registry import open_registry
from service.settings import Settings
from training.artifacts.weights import read_layers
from training.config import TrainingConfig
from training.layers.network import Network
from training.objectives.objective import mean_loss
from training.objectives.supervised import Supervised
from training.rows.batches import make_batch
from training.rows.examples import Encoder, prepare

CONVERSATIONS = (
    ("hello", "hello there"),
    ("what is the answer?", "the answer is 42"),
    ("one", "1", "two", "2"),
    ("say it again", "the text of the ticket, again and again"),
)
RENDERINGS = {"chatty": "chat", "plainly": "plain", "silent": None}
"""Adapters by what they were trained with."""


def chat_record(texts: tuple[str, ...]) -> Record:
    messages = tuple({"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts))
    return Record(kind="chat", file="data.jsonl", line=3, row={}, messages=messages)


RECORDS = tuple(chat_record(texts) for texts in CONVERSATIONS)


@pytest.fixture(scope="module")
def adapter_folders(make_adapter: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("adapters")
    return {name: make_adapter(home / name, seed=seed) for seed, name in enumerate(RENDERINGS)}


@pytest.fixture(scope="module")
def inference(
    tiny_base_folder: Path, adapter_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Inference]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), device="cpu", kv_cache_memory_bytes=4 << 20)
    registry = open_registry(settings)
    opened = Inference.open(BaseSource("tiny", tiny_base_folder), registry, settings)
    identity = BaseIdentity(name=opened.base.name, digest=opened.base.digest)
    for name, kind in RENDERINGS.items():
        if kind is not None:
            template = create_renderer(opened.base.tokenizer, kind).identity.template  # type: ignore[arg-type]
            rendering = RenderingIdentity(kind=kind, template_text=template)
            Manifest(base=identity, rendering=rendering).write(adapter_folders[name])
        submission = Submission(tenant="default", name=name, folder=adapter_folders[name], source="import")
        publish(registry, submission, opened.facts)
    yield opened
    opened.close()
    registry.database.dispose()


def evaluate(
    inference: Inference,
    *models: str | None,
    metrics: tuple[str, ...] = ("loss",),
    records: tuple[Record, ...] = RECORDS,
) -> list[ModelResult]:
    request = EvaluationRequest(
        models=models, records=records, metrics=metrics, generation=GenerationSettings(max_tokens=6)
    )
    return evaluate_models(inference, "default", request)


def trained_loss(folder: Path, adapter: Path | None, template: str, records: tuple[Record, ...] = RECORDS) -> float:
    """What training would measure on the same rows."""
    base = load(BaseSource("tiny", folder), LoadOptions(device="cpu"))
    network = Network(base.model, TrainingConfig(rank=4, alpha=8))
    if adapter is not None:
        read_layers(adapter, network.layers)
    renderer = create_renderer(base.tokenizer, template)  # type: ignore[arg-type]
    examples = prepare(records, Encoder(base.tokenizer, renderer), 256).examples
    return mean_loss(Supervised(), network, [make_batch(examples, range(len(examples)), "packed", base.device)])


@pytest.mark.parametrize(
    ("model", "template"), [(None, "chat"), ("chatty", "chat"), ("plainly", "plain"), ("silent", "chat")]
)
def test_the_loss_is_the_one_that_training_measures(
    inference: Inference,
    tiny_base_folder: Path,
    adapter_folders: dict[str, Path],
    model: str | None,
    template: str,
) -> None:
    (result,) = evaluate(inference, model)
    adapter = None if model is None else adapter_folders[model]
    assert result.metrics["loss"] == pytest.approx(trained_loss(tiny_base_folder, adapter, template), rel=1e-4)


def test_the_loss_of_raw_text_is_the_one_that_training_measures(inference: Inference, tiny_base_folder: Path) -> None:
    text = Record(kind="text", file="data.jsonl", line=1, row={}, text="the text of the ticket")
    (result,) = evaluate(inference, None, records=(text,))
    assert result.metrics["loss"] == pytest.approx(trained_loss(tiny_base_folder, None, "chat", (text,)), rel=1e-4)


def test_results_come_in_the_order_of_the_models_whatever_their_rendering(inference: Inference) -> None:
    models = ("plainly", None, "silent:1", "chatty")
    results = evaluate(inference, *models, metrics=("loss", "rouge_l"))
    assert [result.model for result in results] == ["plainly:1", "tiny", "silent:1", "chatty:1"]
    for model, result in zip(models, results, strict=True):
        (alone,) = evaluate(inference, model, metrics=("loss", "rouge_l"))
        assert result.metrics["loss"] == pytest.approx(alone.metrics["loss"], rel=1e-4)
        assert [case.text for case in result.cases] == [case.text for case in alone.cases]
    assert len({round(result.metrics["loss"], 4) for result in results}) == 4


def test_generation_begins_where_the_last_answer_would(
    inference: Inference, peft_model: Callable[..., torch.nn.Module]
) -> None:
    (result,) = evaluate(inference, None, metrics=("exact_match",))
    target = inference.resolve("default", None)
    ids = inference.render(target, RECORDS[2].prompt_messages)
    model = peft_model(None)
    for _ in range(6):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    text = inference.base.tokenizer.decode(ids[-6:], skip_special_tokens=True)
    assert result.cases[2].text == text


def test_a_record_that_cannot_be_rendered_is_named(inference: Inference) -> None:
    messages = ({"role": "user", "content": None}, {"role": "assistant", "content": "y"})
    record = Record(kind="chat", file="data.jsonl", line=9, row={}, messages=messages)
    with pytest.raises(CaseError, match=r"case 1 \(data\.jsonl:9\)"):
        evaluate(inference, None, records=(RECORDS[0], record))
