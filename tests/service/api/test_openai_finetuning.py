"""Files and jobs through the real openai client, against a real server on a socket without a worker."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

from service.api.process.server import Server
from service.settings import Settings
from tests.service.api.conftest import wait_until

ROWS = b"".join(b'{"prompt": "what is %d?", "completion": "%d"}\n' % (number, number) for number in range(12))


@pytest.fixture(scope="module")
def server(make_settings: Callable[..., Settings]) -> Iterator[Server]:
    server = Server(make_settings(api_keys="acme=key", workers=0))
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    wait_until(lambda: server.lifecycle.phase == "ready")
    yield server
    server.stop()
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="key", max_retries=0) as client:
        yield client


@pytest.fixture
def file_id(client: openai.OpenAI) -> str:
    return client.files.create(file=("train.jsonl", ROWS), purpose="fine-tune").id


def test_a_file_is_uploaded_waited_for_read_and_deleted(client: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(ROWS)
    file = client.files.create(file=path, purpose="fine-tune")
    assert client.files.wait_for_processing(file.id).status == "processed"
    assert client.files.retrieve(file.id).filename == "train.jsonl"
    assert client.files.content(file.id).read() == ROWS
    assert file.id in [each.id for each in client.files.list(purpose="fine-tune")]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError) as gone:
        client.files.retrieve(file.id)
    assert gone.value.code == "file_not_found"


def test_a_bad_file_is_told_by_its_status(client: openai.OpenAI) -> None:
    file = client.files.create(file=("train.jsonl", b"nonsense\n"), purpose="fine-tune")
    processed = client.files.wait_for_processing(file.id)
    assert processed.status == "error"
    assert "line 1" in (processed.status_details or "")


def test_lists_are_read_to_their_ends(client: openai.OpenAI, file_id: str) -> None:
    made = [client.fine_tuning.jobs.create(model="tiny", training_file=file_id).id for _ in range(5)]
    assert [job.id for job in client.fine_tuning.jobs.list(limit=2)][:5] == made[::-1]
    job = made[0]
    for _ in range(3):
        client.fine_tuning.jobs.pause(job)
        client.fine_tuning.jobs.resume(job)
    whole = client.fine_tuning.jobs.list_events(job, limit=100).data
    assert len(whole) == 7
    assert list(client.fine_tuning.jobs.list_events(job, limit=2)) == whole
    files = [file.id for file in client.files.list(limit=100)]
    assert [file.id for file in client.files.list(limit=1)] == files
    assert list(client.fine_tuning.jobs.checkpoints.list(job)) == []


def test_a_job_is_created_with_everything_the_client_knows(client: openai.OpenAI, file_id: str) -> None:
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=file_id,
        validation_file=file_id,
        suffix="support",
        seed=11,
        metadata={"team": "blue"},
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5}},
        },
        extra_body={"lora": {"rank": 4, "alpha": 8, "target_modules": ["q_proj"]}, "priority": 3},
    )
    assert (job.status, job.seed, job.metadata) == ("queued", 11, {"team": "blue"})
    assert job.method is not None
    assert job.method.supervised is not None
    assert job.method.supervised.hyperparameters is not None
    assert job.method.supervised.hyperparameters.n_epochs == 2
    assert job.hyperparameters.learning_rate_multiplier == 0.5
    extra = job.model_extra or {}
    assert extra["lora"] == {"rank": 4, "alpha": 8.0, "target_modules": ["q_proj"]}
    assert (extra["priority"], extra["suffix"], extra["queue_position"]) == (3, "support", 1)
    found = client.fine_tuning.jobs.list(metadata={"team": "blue"}).data
    assert [each.id for each in found] == [job.id]
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"


def test_preference_pairs_have_a_method_of_their_own(client: openai.OpenAI) -> None:
    rows = b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n' * 2
    file = client.files.create(file=("pairs.jsonl", rows), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=file.id, method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}
    )
    assert job.method is not None
    assert job.method.dpo is not None
    assert job.method.dpo.hyperparameters is not None
    assert job.method.dpo.hyperparameters.beta == 0.2


def test_errors_are_of_the_clients_own_types(client: openai.OpenAI, file_id: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.fine_tuning.jobs.create(model="tiny", training_file=file_id, suffix="My Model")
    assert (refused.value.param, refused.value.code, refused.value.type) == (
        "suffix",
        "invalid_value",
        "invalid_request_error",
    )
    with pytest.raises(openai.NotFoundError) as unknown:
        client.fine_tuning.jobs.retrieve("ftjob-none")
    assert unknown.value.code == "job_not_found"
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file_id)
    with pytest.raises(openai.BadRequestError) as used:
        client.files.delete(file_id)
    assert (used.value.code, job.id in used.value.message) == ("file_in_use", True)


def test_a_client_that_repeats_a_lost_answer_makes_one_job(client: openai.OpenAI, file_id: str) -> None:
    first = client.fine_tuning.jobs.create(model="tiny", training_file=file_id, seed=77)
    again = client.fine_tuning.jobs.create(
        model="tiny", training_file=file_id, seed=77, extra_headers={"x-stainless-retry-count": "1"}
    )
    assert again.id == first.id
    keyed = {"Idempotency-Key": "nightly-7"}
    made = [
        client.fine_tuning.jobs.create(model="tiny", training_file=file_id, extra_headers=keyed).id for _ in range(2)
    ]
    assert made[0] == made[1] != first.id
