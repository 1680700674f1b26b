"""Benchmarks on our engine held against the harness's own `hf` backend with plain PEFT."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.publication import Submission, publish
from base.source import BaseSource
from evaluation.errors import RepeatedModelError
from evaluation.harness.errors import AdapterNotAppliedError
from evaluation.harness.results import BenchmarkResult
from evaluation.harness.run import BenchmarkOptions
from service.evaluation.benchmarks import benchmark_models
from service.inference.inference import Inference
from service.registry.opening import open_registry
from service.settings import Settings
from tests.evaluation.harness.conftest import write_files
from tests.service.harness_runs import TOLERANCE_NATS, hf_model, largest_difference, make_long_base, run_harness

CHOICES = ("arc_easy", "hellaswag", "mmlu", "truthfulqa_mc1", "truthfulqa_mc2")
NAMES = ("one", "two")


@pytest.fixture(scope="module")
def base(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_long_base(tmp_path_factory.mktemp("long") / "tiny", tiny_base_folder)


@pytest.fixture(scope="module")
def adapters(
    make_adapter: Callable[..., Path], base: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("adapters")
    return {name: make_adapter(home / name, seed=seed, base=base) for seed, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def inference(base: Path, adapters: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), device="cpu", kv_cache_memory_bytes=32 << 20)
    registry = open_registry(settings)
    opened = Inference.open(BaseSource("tiny", base), registry, settings)
    for name, folder in adapters.items():
        publish(registry, Submission(tenant="default", name=name, folder=folder, source="import"), opened.facts)
    yield opened
    opened.close()
    registry.database.dispose()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("data"))


def check_equal(result: BenchmarkResult, base: Path, adapter: Path | None, tasks: Path, **options: object) -> None:
    """Question by question, and every figure made of them."""
    names = [task.task for task in result.tasks if task.questions]
    expected = run_harness(lambda: hf_model(base, adapter), tasks, names, **options)
    found = {
        (task.task, question.index, question.filter): question for task in result.tasks for question in task.questions
    }
    assert found.keys() == expected.keys()
    for key, sample in expected.items():
        theirs = [response for each in sample["resps"] for response in each]
        assert largest_difference(list(found[key].responses), theirs) < TOLERANCE_NATS
        for metric in sample["metrics"]:
            assert found[key].metrics[metric] == pytest.approx(sample[metric], abs=TOLERANCE_NATS)


def test_choices_are_scored_as_the_hf_backend_scores_them_all_models_in_one_batch(
    inference: Inference, base: Path, adapters: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    options = BenchmarkOptions(benchmarks=CHOICES, data=data, tasks_folder=tmp_path)
    results = benchmark_models(inference, "default", [None, *NAMES], options)
    assert [result.model for result in results] == ["tiny", "one:1", "two:1"]
    for result, adapter in zip(results, (None, *adapters.values()), strict=True):
        check_equal(result, base, adapter, tmp_path)
    digests = [inference.resolve("default", name).adapters[0].source.digest for name in NAMES]
    assert [result.digest for result in results] == [inference.base.digest, *digests]
    assert results[0].applied is None
    assert all(result.applied is not None and result.applied.changed_tokens > 0 for result in results[1:])


@pytest.mark.parametrize("apply_chat_template", [False, True])
def test_answers_are_those_of_the_hf_backend(
    apply_chat_template: bool, inference: Inference, base: Path, adapters: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    options = BenchmarkOptions(
        benchmarks=("gsm8k",), data=data, tasks_folder=tmp_path, apply_chat_template=apply_chat_template
    )
    for result, name in zip(benchmark_models(inference, "default", [None, "one"], options), (None, "one"), strict=True):
        adapter = None if name is None else adapters[name]
        check_equal(result, base, adapter, tmp_path, apply_chat_template=apply_chat_template, fewshot_as_multiturn=True)


def test_what_does_not_fit_loses_its_beginning_as_with_the_hf_backend(
    inference: Inference, base: Path, tmp_path: Path
) -> None:
    long = {"question": "hello there again " * 2000, "choices": {"text": ["a", "hello there"], "label": ["A", "B"]}}
    rows = {"arc_easy/test.jsonl": [{**long, "answerKey": "B"}]}
    options = BenchmarkOptions(
        benchmarks=("arc_easy",), data=write_files(tmp_path / "data", rows), tasks_folder=tmp_path / "tasks"
    )
    (result,) = benchmark_models(inference, "default", [None], options)
    check_equal(result, base, None, tmp_path / "tasks")


def test_an_adapter_that_changes_nothing_is_refused(
    inference: Inference, adapters: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "untrained"
    folder.mkdir()
    (folder / "adapter_config.json").write_text((adapters["one"] / "adapter_config.json").read_text())
    weights = load_file(adapters["one"] / "adapter_model.safetensors")
    weights = {name: tensor * 0 if "lora_B" in name else tensor for name, tensor in weights.items()}
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    submission = Submission(tenant="default", name="untrained", folder=folder, source="import")
    publish(inference.registry, submission, inference.facts)
    options = BenchmarkOptions(benchmarks=("arc_easy",), data=data)
    with pytest.raises(AdapterNotAppliedError, match=r"untrained:1 scores .* exactly as the base does"):
        benchmark_models(inference, "default", [None, "one", "untrained"], options)


def test_two_names_of_one_version_are_refused(inference: Inference, data: Path) -> None:
    options = BenchmarkOptions(benchmarks=("arc_easy",), data=data)
    with pytest.raises(RepeatedModelError, match="one:1 is one:1, which is measured already"):
        benchmark_models(inference, "default", ["one", "one:1"], options)
