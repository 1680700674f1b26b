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
from evaluation.scorers.spec import ScorerSpec
from evaluation.settings import GenerationSettings
from evaluation.suites.suite import Suite, SuiteCase
from service.evaluation.request import Wanted, new_run
from service.evaluation.run import Desk, carry_out, open_desk
from service.inference.inference import Inference
from service.registry.opening import open_registry
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


Evaluate = Callable[..., tuple[ModelResult, ...]]
RECORDS = tuple(chat_record(texts) for texts in CONVERSATIONS)


@pytest.fixture(scope="module")
def adapter_folders(make_adapter: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("adapters")
    return {name: make_adapter(home / name, seed=seed) for seed, name in enumerate(RENDERINGS)}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"), device="cpu", kv_cache_memory_bytes=4 << 20)


@pytest.fixture(scope="module")
def inference(tiny_base_folder: Path, adapter_folders: dict[str, Path], settings: Settings) -> Iterator[Inference]:
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


@pytest.fixture(scope="module")
def desk(settings: Settings, inference: Inference) -> Desk:
    return open_desk(settings, inference.registry.database)


@pytest.fixture
def evaluate(settings: Settings, inference: Inference, desk: Desk) -> Evaluate:
    def evaluate(
        *models: str | None,
        metrics: tuple[str, ...] = ("loss",),
        records: tuple[Record, ...] = RECORDS,
        suite: Suite | None = None,
    ) -> tuple[ModelResult, ...]:
        suite = suite or Suite.of_records("records", records)
        scorers = tuple(map(ScorerSpec, metrics))
        wanted = Wanted(models=models, suite=suite, scorers=scorers, max_tokens=6, actor="default")
        new = new_run(settings, inference, "default", wanted)
        run = carry_out(desk, inference, desk.claims.begin("default", new, suite))
        return desk.runs.results("default", run.id)

    return evaluate


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
    evaluate: Evaluate,
    tiny_base_folder: Path,
    adapter_folders: dict[str, Path],
    model: str | None,
    template: str,
) -> None:
    (result,) = evaluate(model)
    adapter = None if model is None else adapter_folders[model]
    assert result.metrics["loss"] == pytest.approx(trained_loss(tiny_base_folder, adapter, template), rel=1e-4)


def test_the_loss_of_raw_text_is_the_one_that_training_measures(evaluate: Evaluate, tiny_base_folder: Path) -> None:
    text = Record(kind="text", file="data.jsonl", line=1, row={}, text="the text of the ticket")
    (result,) = evaluate(None, records=(text,))
    assert result.metrics["loss"] == pytest.approx(trained_loss(tiny_base_folder, None, "chat", (text,)), rel=1e-4)


def test_results_come_in_the_order_of_the_models_whatever_their_rendering(evaluate: Evaluate) -> None:
    models = ("plainly", None, "silent:1", "chatty")
    results = evaluate(*models, metrics=("loss", "rouge_l"))
    assert [result.model for result in results] == ["plainly:1", "tiny", "silent:1", "chatty:1"]
    for model, result in zip(models, results, strict=True):
        (alone,) = evaluate(model, metrics=("loss", "rouge_l"))
        assert result.metrics["loss"] == pytest.approx(alone.metrics["loss"], rel=1e-4)
        assert [case.text for case in result.cases] == [case.text for case in alone.cases]
    assert len({round(result.metrics["loss"], 4) for result in results}) == 4


def test_generation_begins_where_the_last_answer_would(
    inference: Inference, evaluate: Evaluate, peft_model: Callable[..., torch.nn.Module]
) -> None:
    (result,) = evaluate(None, metrics=("exact_match",))
    target = inference.resolve("default", None)
    ids = inference.render(target, RECORDS[2].prompt_messages)
    model = peft_model(None)
    for _ in range(6):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    text = inference.base.tokenizer.decode(ids[-6:], skip_special_tokens=True)
    assert result.cases[2].text == text


def test_a_record_that_cannot_be_rendered_is_named(evaluate: Evaluate) -> None:
    messages = ({"role": "user", "content": None}, {"role": "assistant", "content": "y"})
    record = Record(kind="chat", file="data.jsonl", line=9, row={}, messages=messages)
    with pytest.raises(CaseError, match="case 1: "):
        evaluate(None, records=(RECORDS[0], record))


def test_choices_are_as_likely_as_the_model_says(
    inference: Inference, evaluate: Evaluate, peft_model: Callable[..., torch.nn.Module]
) -> None:
    given = SuiteCase(prompt="what is the answer?", choices=("42", "hello there"), gold=0)
    suite = Suite(name="choices", cases=(given,), scorers=(ScorerSpec("multiple_choice"),))
    (result,) = evaluate(None, metrics=(), suite=suite)
    context = inference.render(inference.resolve("default", None), ({"role": "user", "content": given.prompt},))
    expected = []
    for text in given.choices:
        ids = inference.base.tokenizer(text, add_special_tokens=False)["input_ids"]
        logits = peft_model(None)(torch.tensor([context + ids])).logits[0].detach()
        logprobs = logits.log_softmax(-1)
        expected.append(sum(float(logprobs[len(context) - 1 + at, token]) for at, token in enumerate(ids)))
    assert result.cases[0].details["choice_logprobs"] == pytest.approx(expected, rel=1e-4)
    assert result.metrics["acc"] == float(expected[0] > expected[1])


@pytest.mark.parametrize("name", [None, "tickets"])
def test_a_suite_is_answered_as_it_says_whether_it_is_stored_or_sent(
    settings: Settings, inference: Inference, name: str | None
) -> None:
    generation = GenerationSettings(max_tokens=3, stop=("x",))
    suite = Suite(name="tickets", cases=(SuiteCase(prompt="one", completion="1"),), generation=generation)
    wanted = Wanted(models=(None,), suite=suite, name=name, actor="default")
    assert new_run(settings, inference, "default", wanted).generation == generation
