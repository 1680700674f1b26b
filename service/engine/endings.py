"""How running sequences end: their pages and adapters are given back before anybody is told."""

from service.engine.admission import Admission
from service.engine.errors import EngineError
from service.engine.request import FinishReason
from service.engine.scheduling.scheduler import Scheduler
from service.engine.scheduling.sequence import Sequence


class Endings:
    """The ends that a running sequence can come to; engine thread only."""

    def __init__(self, scheduler: Scheduler, admission: Admission) -> None:
        self._scheduler = scheduler
        self._admission = admission

    def end(self, run: Sequence, *, keep: bool = True) -> None:
        """Its output has been told; without `keep` nobody starts from what it has computed."""
        self._scheduler.finish(run, keep=keep)
        self._admission.release(run)

    def finish(self, run: Sequence, reason: FinishReason) -> None:
        """There is no other token."""
        self.end(run)
        run.output.ended(reason)

    def fail(self, run: Sequence, error: EngineError) -> None:
        """It cannot go on, and neither should one that begins alike: what it has computed may be why."""
        self.end(run, keep=False)
        run.output.failed(error)

    def give_up(self, run: Sequence) -> None:
        """It is over by no fault of the model's."""
        self.end(run)
        self._admission.answer(run)
