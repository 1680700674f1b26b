"""Messages to the operator's webhook, signed as standardwebhooks.com says, which OpenAI's client verifies."""

import base64
import binascii
import hashlib
import hmac
import json
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.errors import SettingsError
from service.jobs.tables import WebhookDeliveryRow
from storage.clock import now_of
from storage.database import Database

_log = logging.getLogger(__name__)

_PREFIX = "whsec_"
_TIMEOUT_SECONDS = 10
_DELAYS_SECONDS = (5, 30, 120, 600, 3600, 6 * 3600, 24 * 3600)
"""After each failed attempt; after the last of them the message is given up."""
_NEWS = timedelta(days=2)
"""What nobody has tried to send for so long is no news."""
_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Message:
    """One delivery as it is sent."""

    id: str
    type: str
    job_id: str
    created_at: datetime

    def body(self) -> bytes:
        """OpenAI's event object."""
        event = {
            "id": self.id,
            "object": "event",
            "created_at": int(self.created_at.timestamp()),
            "type": self.type,
            "data": {"id": self.job_id},
        }
        return json.dumps(event, separators=(",", ":")).encode()


def signing_key(secret: str) -> bytes:
    """The key in `LORAD_WEBHOOK_SECRET`.

    Raises:
        SettingsError: it is not `whsec_` and base64.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise SettingsError("LORAD_WEBHOOK_SECRET is not whsec_ followed by base64") from error
    if not secret.startswith(_PREFIX) or len(key) < 16:
        raise SettingsError(
            "LORAD_WEBHOOK_SECRET must be whsec_ followed by base64 of at least 16 bytes: "
            "printf 'whsec_%s' $(head -c 24 /dev/urandom | base64)"
        )
    return key


def signed_headers(message_id: str, at: datetime, body: bytes, key: bytes) -> dict[str, str]:
    """The headers by which the receiver knows who sent the body, and when."""
    timestamp = str(int(at.timestamp()))
    signed = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }


class Webhooks:
    """Sends what is due, at least once; workers of one database send a message once as a rule.

    Args:
        database: where deliveries are kept.
        url: the operator's.
        secret: `LORAD_WEBHOOK_SECRET`.

    Raises:
        SettingsError: the secret is malformed.
    """

    def __init__(self, database: Database, url: str, secret: str) -> None:
        self._database = database
        self._url = url
        self._key = signing_key(secret)

    def send_due(self) -> int:
        """Tries every message whose time has come; how many arrived."""
        return sum(self._send(message) for message in self._take())

    def _take(self) -> list[Message]:
        """Those that are due, put off as if they had failed: if this process dies, they are sent again."""
        with self._database.session() as session:
            now = now_of(session)
            # A receiver that is set up later is not flooded with the jobs of the year before.
            forgotten = (WebhookDeliveryRow.attempts == 0) & (WebhookDeliveryRow.created_at < now - _NEWS)
            session.execute(
                update(WebhookDeliveryRow)
                .where(WebhookDeliveryRow.next_at.is_not(None), forgotten)
                .values(next_at=None)
                .execution_options(synchronize_session=False)
            )
            due = select(WebhookDeliveryRow).where(WebhookDeliveryRow.next_at <= now).limit(_AT_ONCE)
            rows = session.scalars(due.with_for_update(skip_locked=True)).all()
            for row in rows:
                delay = _DELAYS_SECONDS[row.attempts] if row.attempts < len(_DELAYS_SECONDS) else None
                row.next_at = None if delay is None else now + timedelta(seconds=delay)
                row.attempts += 1
            return [Message(id=row.id, type=row.type, job_id=row.job_id, created_at=row.created_at) for row in rows]

    def _send(self, message: Message) -> bool:
        body = message.body()
        with self._database.reading() as session:
            headers = signed_headers(message.id, now_of(session), body, self._key)
        try:
            reply = httpx.post(self._url, content=body, headers=headers, timeout=_TIMEOUT_SECONDS)
            reply.raise_for_status()
        except httpx.HTTPError as error:
            # httpx's own text has the whole address, and its path or query may be a secret.
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else type(error).__name__
            _log.warning("webhook message %s did not arrive: %s", message.id, status)
            return False
        with self._database.session() as session:
            _delivered(session, message.id)
        return True


def _delivered(session: Session, message_id: str) -> None:
    row = session.get_one(WebhookDeliveryRow, message_id)
    row.delivered_at, row.next_at = now_of(session), None
