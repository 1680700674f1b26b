"""A model behind an OpenAI-compatible URL that the operator has set."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from corpus.messages import Message
from evaluation.errors import JudgeRefusedError, JudgeRestingError, JudgeUnavailableError
from evaluation.judging.chat import Turn
from evaluation.settings import GenerationSettings

_log = logging.getLogger(__name__)

_MAX_REPLY_BYTES = 1 << 20
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""
_REFUSING = frozenset({400, 413, 422})
"""Statuses of one conversation, too long or not to its filter's liking, which say nothing of others."""
_MAX_RETRY_AFTER_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the model answers. From the operator's settings, never from a client."""

    url: str
    """Up to and with `/v1`."""
    model: str
    api_key: str | None = field(default=None, repr=False)
    connect_seconds: float = 5
    read_seconds: float = 120
    """Of silence; an answer comes at once or not at all, so it is a whole answer's time too."""
    delays_seconds: tuple[float, ...] = (0.5, 2)
    """Before each further attempt."""
    rest_seconds: float = 15
    """After the last attempt has failed, for which nobody tries: each case of a run would wait for all attempts."""


class RemoteChat:
    """A model over HTTP, with bounded attempts. Safe for threads; close it when it is no longer needed.

    Redirects are not followed, and messages of its errors carry neither address nor key.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.name = endpoint.model
        self._endpoint = endpoint
        headers = {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
        timeout = httpx.Timeout(endpoint.read_seconds, connect=endpoint.connect_seconds)
        self._client = httpx.Client(headers=headers, timeout=timeout)
        self._url = f"{endpoint.url.rstrip('/')}/chat/completions"
        self._lock = threading.Lock()
        self._resting: tuple[float, str] | None = None

    def answer(self, messages: Sequence[Message], settings: GenerationSettings) -> Turn:
        """The assistant's next turn.

        Raises:
            JudgeRefusedError: it refuses this conversation.
            JudgeRestingError: it failed a moment ago, and is not asked.
            JudgeUnavailableError: every attempt failed, or a further one cannot help.
        """
        self._refuse_while_resting()
        body = self._body(messages, settings)
        reason = ""
        for delay in (*self._endpoint.delays_seconds, None):
            found = self._attempt(body)
            if isinstance(found, Turn):
                return found
            reason = found.reason
            if found.refused:
                raise JudgeRefusedError(self.name, reason)
            if not found.passing or delay is None:
                break
            time.sleep(delay if found.retry_after_seconds is None else found.retry_after_seconds)
        return self._give_up(reason)

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def _body(self, messages: Sequence[Message], settings: GenerationSettings) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._endpoint.model,
            "messages": [dict(message) for message in messages],
            "max_tokens": settings.max_tokens,
            "temperature": settings.temperature,
        }
        if settings.seed is not None:
            body["seed"] = settings.seed
        if settings.stop:
            body["stop"] = list(settings.stop)
        return body

    def _attempt(self, body: dict[str, Any]) -> "Turn | _Failure":
        try:
            with self._client.stream("POST", self._url, json=body) as response:
                if not response.is_success:
                    return _refusal(response)
                received = bytearray()
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) > _MAX_REPLY_BYTES:
                        return _Failure(f"its reply has more than {_MAX_REPLY_BYTES} bytes")
        except httpx.TimeoutException:
            return _Failure("it did not answer in time", passing=True)
        except httpx.HTTPError as error:
            return _Failure(f"it cannot be reached ({type(error).__name__})", passing=True)
        return _content(httpx.Response(200, content=bytes(received)))

    def _refuse_while_resting(self) -> None:
        with self._lock:
            resting = self._resting
        if resting is not None and time.monotonic() < resting[0]:
            raise JudgeRestingError(self.name, resting[1])

    def _give_up(self, reason: str) -> Turn:
        with self._lock:
            self._resting = (time.monotonic() + self._endpoint.rest_seconds, reason)
        # The host alone: addresses may hold keys in their path or query.
        host = httpx.URL(self._endpoint.url).host
        _log.warning("the judge %s at %s cannot be asked: %s", self.name, host, reason)
        raise JudgeUnavailableError(self.name, reason)


@dataclass(frozen=True)
class _Failure:
    reason: str
    passing: bool = False
    refused: bool = False
    retry_after_seconds: float | None = None


def _refusal(response: httpx.Response) -> _Failure:
    after = response.headers.get("retry-after", "")
    seconds = min(float(after), _MAX_RETRY_AFTER_SECONDS) if after.isdecimal() else None
    hint = ": the API key is not the right one" if response.status_code in (401, 403) else ""
    reason = f"it answered with status {response.status_code}{hint}"
    passing, refused = response.status_code in _PASSING, response.status_code in _REFUSING
    return _Failure(reason, passing=passing, refused=refused, retry_after_seconds=seconds)


def _content(response: httpx.Response) -> "Turn | _Failure":
    try:
        choice = response.json()["choices"][0]
        content, reason = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError):
        return _Failure("its reply is no chat completion: the URL must lead to an OpenAI-compatible server")
    # Null where the model said nothing, such as after a refusal: nothing can be read from it, which is no outage.
    return Turn(content if isinstance(content, str) else "", reason if isinstance(reason, str) else "stop")
