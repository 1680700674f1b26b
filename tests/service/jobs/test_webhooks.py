import base64
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import openai
import pytest
from sqlalchemy import select, update

from service.errors import SettingsError
from service.jobs.job import Job, JobError
from service.jobs.jobs import Jobs
from service.jobs.queue import Queue
from service.jobs.tables import WebhookDeliveryRow
from service.jobs.webhooks import Webhooks, signing_key
from storage.database import Database

SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()


class Receiver:
    """A server on loopback that writes down what it is sent."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.got.append((dict(self.headers), body))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def webhooks(database: Database, receiver: Receiver) -> Webhooks:
    return Webhooks(database, receiver.url, SECRET)


def test_openais_client_verifies_what_is_sent(
    webhooks: Webhooks, receiver: Receiver, jobs: Jobs, queue: Queue, make_job: Callable[..., Job]
) -> None:
    succeeded, failed, cancelled = make_job(), make_job("b"), make_job("c")
    for _ in range(2):
        claim = queue.claim("w")
        assert claim is not None
        if claim.job.id == succeeded.id:
            queue.succeed(claim, "x:1", 1)
        else:
            queue.fail(claim, JobError(code="diverged", message="NaN"))
    jobs.cancel("c", cancelled.id)
    assert webhooks.send_due() == 3
    assert webhooks.send_due() == 0
    client = openai.OpenAI(api_key="x", webhook_secret=SECRET)
    events = [client.webhooks.unwrap(body, headers) for headers, body in receiver.got]
    assert {(event.type, event.data.id) for event in events} == {  # type: ignore[union-attr]
        ("fine_tuning.job.succeeded", succeeded.id),
        ("fine_tuning.job.failed", failed.id),
        ("fine_tuning.job.cancelled", cancelled.id),
    }
    forged = json.dumps({"type": "fine_tuning.job.succeeded"}).encode()
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(forged, receiver.got[0][0])


def test_what_did_not_arrive_is_sent_again_and_at_last_given_up(
    webhooks: Webhooks, receiver: Receiver, jobs: Jobs, database: Database, make_job: Callable[..., Job]
) -> None:
    jobs.cancel("acme", make_job().id)
    receiver.status = 500
    for attempt in range(1, 9):
        assert webhooks.send_due() == 0
        assert len(receiver.got) == attempt
        assert webhooks.send_due() == 0, "it waits between attempts"
        with database.session() as session:
            row = session.scalars(select(WebhookDeliveryRow)).one()
            assert (row.attempts, row.delivered_at) == (attempt, None)
            due = update(WebhookDeliveryRow).where(WebhookDeliveryRow.next_at.is_not(None))
            session.execute(due.values(next_at=datetime.now(UTC) - timedelta(seconds=1)))
    receiver.status = 200
    assert webhooks.send_due() == 0
    assert len(receiver.got) == 8


def test_a_receiver_that_is_set_up_late_hears_of_no_old_jobs(
    webhooks: Webhooks, receiver: Receiver, jobs: Jobs, database: Database, make_job: Callable[..., Job]
) -> None:
    old, recent = make_job(), make_job()
    for job in (old, recent):
        jobs.cancel("acme", job.id)
    with database.session() as session:
        of_old = update(WebhookDeliveryRow).where(WebhookDeliveryRow.job_id == old.id)
        session.execute(of_old.values(created_at=datetime.now(UTC) - timedelta(days=3)))
    assert webhooks.send_due() == 1
    assert [json.loads(body)["data"]["id"] for _, body in receiver.got] == [recent.id]


@pytest.mark.parametrize("secret", ["", "abc", "whsec_%%%", "whsec_" + base64.b64encode(b"short").decode()])
def test_a_secret_that_would_not_do_is_refused(secret: str) -> None:
    with pytest.raises(SettingsError, match="whsec_"):
        signing_key(secret)
