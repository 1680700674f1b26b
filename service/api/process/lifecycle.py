"""Where the server is between start and end, and what runs meanwhile."""

from typing import Literal

from service.api.errors.problem import ApiError, Problem
from service.api.process.in_flight import InFlight
from service.engine.errors import EngineFailedError
from service.inference.inference import Inference

RETRY_AFTER_SECONDS = 5

Phase = Literal["loading", "ready", "draining", "failed"]

_REFUSALS = {
    "loading": "the model is still being loaded; try again in a few seconds",
    "draining": "the server is shutting down; send the request to another one, or again later",
    "failed": "the model could not be loaded, or its engine has failed; the server's log says why",
}


class Lifecycle:
    """Loading, then ready, then draining; or failed. Only the event loop's thread changes it."""

    def __init__(self) -> None:
        self.in_flight = InFlight()
        self.failure: Exception | None = None
        self.opened: Inference | None = None
        """What answers, once it is loaded; also while draining."""
        self._draining = False

    @property
    def phase(self) -> Phase:
        """Where the server is."""
        if self._draining:
            return "draining"
        # An engine whose thread has died answers nothing any more.
        if self.failure is not None or (self.opened is not None and not self.opened.engine.alive):
            return "failed"
        return "loading" if self.opened is None else "ready"

    def set_ready(self, inference: Inference) -> None:
        """The model is loaded."""
        self.opened = inference

    def fail(self, error: Exception) -> None:
        """The model cannot be loaded, or its engine is dead, so the process has to end."""
        self.failure = error

    def notice_death(self) -> None:
        """An engine that has ended by itself takes the process with it; its requests have failed by then."""
        if self.failure is None and self.opened is not None and not self.opened.engine.alive:
            self.fail(EngineFailedError("the engine has failed and serves no more requests; the log above says why"))

    def drain(self) -> None:
        """From now on new work is refused, and what runs goes on."""
        self._draining = True

    def inference(self) -> Inference:
        """What answers requests.

        Raises:
            ApiError: 503, with the time after which another try makes sense.
        """
        phase = self.phase
        if phase != "ready":
            raise ApiError(
                Problem(
                    status=503,
                    message=_REFUSALS[phase],
                    code=f"server_{phase}",
                    retry_after_seconds=RETRY_AFTER_SECONDS,
                )
            )
        assert self.opened is not None
        return self.opened
