"""The stock lm-evaluation-harness against a real server, held against its own `hf` backend with plain PEFT."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI

from evaluation.harness.catalogue import benchmark
from evaluation.harness.task_files import write_tasks
from service.api.process.server import Server
from service.settings import Settings
from tests.conftest import REPOSITORY
from tests.evaluation.harness.conftest import write_files
from tests.service.api.conftest import archive_of, upload_to, wait_until
from tests.service.harness_runs import (
    TOLERANCE_NATS,
    Samples,
    hf_model,
    largest_difference,
    make_long_base,
    run_harness,
)

CHOICES = ["arc_easy", "hellaswag", "truthfulqa_mc1"]


@pytest.fixture(scope="module")
def base(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_long_base(tmp_path_factory.mktemp("long") / "tiny", tiny_base_folder)


@pytest.fixture(scope="module")
def adapter(make_adapter: Callable[..., Path], base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapters") / "support", seed=3, base=base)


@pytest.fixture(scope="module")
def server(make_settings: Callable[..., Settings], base: Path, adapter: Path) -> Iterator[Server]:
    server = Server(make_settings(base_model=str(base), kv_cache_memory_bytes=64 << 20))
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    wait_until(lambda: server.lifecycle.phase == "ready")
    upload_to(server.url, "support", archive_of(adapter), "unused")
    yield server
    server.stop()
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    data = write_files(tmp_path_factory.mktemp("data"))
    write_tasks([benchmark(name) for name in (*CHOICES, "gsm8k")], data, folder)
    return folder


def check_equal(served: Samples, plain: Samples) -> None:
    assert served.keys() == plain.keys()
    assert served
    for key, sample in served.items():
        ours, theirs = ([each[0] for each in side["resps"]] for side in (sample, plain[key]))
        assert largest_difference(ours, theirs) < TOLERANCE_NATS, key


@pytest.mark.parametrize("model", ["tiny", "support"])
def test_choices_through_completions(model: str, server: Server, base: Path, adapter: Path, tasks: Path) -> None:
    def completions() -> LocalCompletionsAPI:
        url = f"{server.url}/v1/completions"
        return LocalCompletionsAPI(model=model, base_url=url, tokenizer=str(base), max_length=4096, num_concurrent=4)

    served = run_harness(completions, tasks, [*CHOICES, "gsm8k"])
    peft = adapter if model == "support" else None
    check_equal(served, run_harness(lambda: hf_model(base, peft), tasks, [*CHOICES, "gsm8k"]))


@pytest.mark.parametrize("model", ["tiny", "support"])
def test_answers_through_chat_completions(model: str, server: Server, base: Path, adapter: Path, tasks: Path) -> None:
    def chat() -> LocalChatCompletion:
        return LocalChatCompletion(model=model, base_url=f"{server.url}/v1/chat/completions", num_concurrent=4)

    served = run_harness(chat, tasks, ["gsm8k"], apply_chat_template=True)
    peft = adapter if model == "support" else None
    check_equal(served, run_harness(lambda: hf_model(base, peft), tasks, ["gsm8k"], apply_chat_template=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", [["--task", "arc_easy", "--limit", "2"], ["--chat", "--limit", "1"]], ids=["completions", "chat"]
)
def test_the_stock_command_on_the_embedded_base(
    flags: list[str], smollm2: Path, make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    make_adapter(tmp_path / "adapters" / "support", seed=3, base=smollm2, targets=("q_proj", "v_proj"))
    command = [
        sys.executable, "benchmarks/harness_parity.py", "--base", smollm2, "--adapters", tmp_path / "adapters",
        "--data", write_files(tmp_path / "data"), *flags,
    ]  # fmt: skip
    done = subprocess.run([str(part) for part in command], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("| support |") == 1
