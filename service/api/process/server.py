"""`lorad serve`: the application on a socket, from binding to the last answer after SIGTERM."""

import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from service.api.app import create_app, open_inference
from service.api.auth.principal import is_loopback
from service.api.process.lifecycle import Lifecycle
from service.api.process.lifespan import OpenInference
from service.api.process.logs import configure_logs
from service.api.process.protocol import HeaderTimeoutProtocol
from service.api.process.worker_process import WorkerProcess
from service.errors import SettingsError
from service.settings import Settings

OnUrl = Callable[[str], None]

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 15
_CUT_SECONDS = 5
"""What answers that were cut get to tell their clients so."""


class Server(uvicorn.Server):
    """uvicorn, which drains before it closes its sockets: `/live` and `/health` answer until the end.

    Args:
        settings: of the server.
        on_listening: told the URL as soon as it answers, before the base is loaded.
        on_ready: told the URL once requests are welcome.
        open_inference: what loads the base.

    Raises:
        SettingsError: the address cannot be had, is open to strangers without keys, or the keys are malformed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_listening: OnUrl | None = None,
        on_ready: OnUrl | None = None,
        open_inference: OpenInference = open_inference,
    ) -> None:
        self.lifecycle = Lifecycle()
        app = create_app(settings, open_inference=open_inference, lifecycle=self.lifecycle)
        self._socket = listen(settings)
        self.url = _url(settings.host, self._socket)
        self._grace_seconds = settings.shutdown_timeout
        self._on_listening, self._on_ready = on_listening, on_ready
        self._deadline: float | None = None
        self._worker = WorkerProcess(settings) if settings.workers else None
        super().__init__(_config(app))

    def run_until_stopped(self) -> None:
        """Serves until a signal or `stop`.

        Raises:
            Exception: what kept the registry or the base from being opened, or ended the engine.
        """
        try:
            self.run(sockets=[self._socket])
        except SystemExit:
            # uvicorn's way out when the lifespan fails; the reason is ours.
            if self.lifecycle.failure is None:
                raise
        finally:
            if self._worker is not None:
                self._worker.close()
            self._socket.close()
        if self.lifecycle.failure is not None:
            raise self.lifecycle.failure

    def stop(self) -> None:
        """Refuses new work and ends when the running requests have, or when their time is up. Thread-safe."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._grace_seconds
            self.lifecycle.drain()
            if self._worker is not None:
                self._worker.leave()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """The first signal drains, the second ends at once."""
        if self._deadline is None:
            self.stop()
        else:
            self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: tells what has changed and sees whether it is time to go."""
        if self._on_listening is not None:
            self._on_listening(self.url)
            self._on_listening = None
        if self.lifecycle.phase == "ready":
            self._when_ready()
        self.lifecycle.notice_death()
        if self.lifecycle.failure is not None or (self._deadline is not None and self._drained(self._deadline)):
            self.should_exit = True
        return await super().on_tick(counter)

    def _when_ready(self) -> None:
        if self._on_ready is not None:
            self._on_ready(self.url)
            self._on_ready = None
        # After the base is loaded: serving takes its memory first.
        if self._worker is not None:
            self._worker.look()

    def _drained(self, deadline: float) -> bool:
        in_flight = self.lifecycle.in_flight
        late_seconds = time.monotonic() - deadline
        if late_seconds > 0:
            in_flight.cancel()
        return in_flight.num_requests == 0 or late_seconds > _CUT_SECONDS


def serve(
    settings: Settings,
    *,
    on_listening: OnUrl | None = None,
    on_ready: OnUrl | None = None,
    open_inference: OpenInference = open_inference,
) -> None:
    """Serves until SIGTERM or SIGINT; running requests get `shutdown_timeout` seconds to end.

    Raises:
        SettingsError: see `Server`.
        StorageError: the registry cannot be opened.
        BaseModelError: the base cannot be loaded.
        EngineFailedError: the engine ended by itself.
    """
    server = Server(settings, on_listening=on_listening, on_ready=on_ready, open_inference=open_inference)
    configure_logs(settings.log_level)
    server.run_until_stopped()


def listen(settings: Settings) -> socket.socket:
    """A bound socket; port 0 takes a free one.

    Raises:
        SettingsError: the address is open to others and there are no keys, or it cannot be bound.
    """
    host, port = settings.host, settings.port
    if not settings.api_keys.strip(" ,") and not is_loopback(host):
        raise SettingsError(
            f"--host {host} would let anybody in, because there are no API keys: "
            "set LORAD_API_KEYS=tenant=key, or serve on 127.0.0.1"
        )
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; "
            "give another --host or --port (0 takes a free one)"
        ) from error


def _config(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=HeaderTimeoutProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_CUT_SECONDS,
    )


def _url(host: str, bound: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{bound.getsockname()[1]}"
