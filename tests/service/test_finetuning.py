"""From a file to an answer of the new model, with the real openai client, worker, training and base."""

import threading
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob

from service.api.process.server import Server
from service.settings import Settings
from tests.service.api.conftest import wait_until

pytestmark = pytest.mark.slow

_MINUTES = 60.0
ROWS = b"".join(
    b'{"messages": [{"role": "user", "content": "What is the code of box %d?"}, '
    b'{"role": "assistant", "content": "The code is blue."}]}\n' % number
    for number in range(8)
)
QUESTION = "What is the code of box 3?"


@pytest.fixture
def server(tmp_path: Path, smollm2: Path) -> Iterator[Server]:
    server = Server(Settings(home=tmp_path / "home", base_home=smollm2.parent, device="cpu", port=0, workers=1))
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    wait_until(lambda: server.lifecycle.phase == "ready", 5 * _MINUTES)
    yield server
    server.stop()
    thread.join(60)
    assert not thread.is_alive()


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0, timeout=120) as client:
        yield client


def ask(client: openai.OpenAI, model: str) -> tuple[str, str | None]:
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": QUESTION}], max_tokens=12, temperature=0
    )
    return answer.model, answer.choices[0].message.content


def test_upload_job_events_checkpoint_chat(client: openai.OpenAI) -> None:
    file = client.files.create(file=("boxes.jsonl", ROWS), purpose="fine-tune")
    assert client.files.wait_for_processing(file.id).status == "processed"
    base = client.models.list().data[0].id
    created = client.fine_tuning.jobs.create(
        model=base,
        training_file=file.id,
        suffix="boxes",
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 6, "batch_size": 4}}},
        extra_body={"lora": {"rank": 4, "save_every": 3, "learning_rate": 3e-3, "warmup_ratio": 0.0}},
    )

    def job() -> FineTuningJob:
        return client.fine_tuning.jobs.retrieve(created.id)

    wait_until(lambda: bool(client.fine_tuning.jobs.checkpoints.list(created.id).data), 5 * _MINUTES)
    first = client.fine_tuning.jobs.checkpoints.list(created.id).data[-1]
    assert first.fine_tuned_model_checkpoint == "boxes:ckpt-step-3"
    assert first.metrics.train_loss is not None
    # Also while the job runs.
    assert ask(client, first.fine_tuned_model_checkpoint)[0] == "boxes:ckpt-step-3"

    wait_until(lambda: job().status in ("succeeded", "failed", "cancelled"), 5 * _MINUTES)
    ended = job()
    assert ended.status == "succeeded", ended.error
    assert ended.fine_tuned_model == "boxes:1"
    assert ended.trained_tokens is not None
    assert ended.trained_tokens > 0
    assert ended.finished_at is not None
    assert [each.step_number for each in client.fine_tuning.jobs.checkpoints.list(created.id)] == [12, 9, 6, 3]

    # In the next request, without a restart.
    model, text = ask(client, ended.fine_tuned_model)
    assert (model, text) == ("boxes:1", "The code is blue.")
    assert ask(client, base)[1] != text

    events = list(client.fine_tuning.jobs.list_events(created.id, limit=5))
    losses = [event.data["train_loss"] for event in events if event.type == "metrics"]  # type: ignore[index]
    assert len(losses) == 12
    assert losses[0] < losses[-1]
    assert "boxes:1" in events[0].message
    client.files.delete(file.id)
