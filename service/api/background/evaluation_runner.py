"""Stored evaluations on this server's engine, in the background or while a request waits."""

from evaluation.runs.claims import RunClaim
from evaluation.runs.errors import StaleRunError
from evaluation.runs.run import Run
from service.api.background.claimed_work import ClaimedWork
from service.api.background.long_work import Stop
from service.api.process.lifecycle import Lifecycle
from service.engine.errors import EngineClosedError
from service.evaluation.run import Desk, carry_out
from service.inference.inference import Inference


class EvaluationRunner(ClaimedWork[RunClaim]):
    """Carries runs out, some in the background and some for requests that wait.

    Args:
        desk: where runs are.
        lifecycle: what answers, once it is loaded.
        limit: runs in the background at once.
        lease_seconds: after which others take a run up whose server is not heard of.
    """

    def __init__(self, desk: Desk, lifecycle: Lifecycle, *, limit: int, lease_seconds: float) -> None:
        super().__init__(
            "evaluations",
            desk.claims,
            lambda inference, claim, stop: carry_out(desk, inference, claim, stop.check),
            stale=StaleRunError,
            lifecycle=lifecycle,
            limit=limit,
            lease_seconds=lease_seconds,
        )
        self._desk = desk
        self._draining = lambda: lifecycle.phase == "draining"

    def now(self, inference: Inference, claim: RunClaim, stop: Stop) -> Run:
        """Carries a run out while somebody waits for it; whatever ends it early is written down.

        Raises:
            StaleRunError: it was cancelled meanwhile.
            EngineClosedError: whoever waited has gone, or the server shuts down: then the run goes on later.
        """
        with self.holding(claim, stop):
            try:
                return carry_out(self._desk, inference, claim, stop.check)
            except StaleRunError:
                raise
            except EngineClosedError:
                # A run that was cancelled over HTTP is stopped likewise, and whoever waits is told of that instead.
                self._give_up(claim)
                raise
            except Exception as error:
                self.failed(claim, error)
                raise

    def _give_up(self, claim: RunClaim) -> None:
        if self._draining():
            self._desk.claims.release(claim)
        else:
            self._desk.claims.cancel(claim)
