"""Whether a sequence may run, and why it cannot go on."""

import time
from collections.abc import Iterable

from service.engine.errors import DeadlineError, EngineError, EngineFailedError
from service.engine.residency.leases import Lease
from service.engine.residency.loading import dora_refusal
from service.engine.residency.pins import Pins
from service.engine.residency.residency import Residency
from service.engine.residency.verifier import Canary, Verifier
from service.engine.scheduling.sequence import Sequence


class Admission:
    """Adapters in slots and checked, grammar compiled, time left; engine thread only."""

    def __init__(self, residency: Residency, verifier: Verifier, pins: Pins) -> None:
        self._residency = residency
        self._verifier = verifier
        self._pins = pins

    def ready(self, run: Sequence) -> bool:
        """Whether a waiting sequence could run now."""
        if any(lease.slot is None for lease in run.leases):
            return False
        if isinstance(run.output, Canary):
            return True
        # What cannot run may turn out so after the step's look at what is over.
        return (
            all(self._verifier.sound(lease.source.digest) for lease in run.leases)
            and _misuse(run) is None
            and (run.grammar is None or (run.grammar.done() and run.grammar.exception() is None))
        )

    def is_over(self, run: Sequence) -> bool:
        """Whether nobody waits for it any more, or it cannot go on."""
        return run.output.cancelled or self._error(run) is not None

    def answer(self, run: Sequence) -> None:
        """Tells one that is over why."""
        error = self._error(run)
        if run.output.cancelled or error is None:
            run.output.ended("cancelled")
        else:
            run.output.failed(error)

    def has_checks(self, waiting: Iterable[Sequence]) -> bool:
        """Whether an adapter has come that nobody has looked at."""
        return any(map(self._to_check, self._leases(waiting)))

    def checks(self, waiting: Iterable[Sequence]) -> list[Sequence]:
        """The sequences that look at such adapters."""
        found = []
        for lease in self._leases(waiting):
            # A pin may be given up at any moment, and its adapter leave its slot.
            if self._to_check(lease) and (beside := self._residency.lease_beside(lease)) is not None:
                found.append(self._verifier.check(beside))
        return found

    def settle_pins(self) -> None:
        """Tells the operator of those adapters that are there, or will not come."""
        self._pins.settle(self._verifier)

    def release(self, run: Sequence) -> None:
        """Gives its adapters back."""
        for lease in run.leases:
            self._residency.release(lease)

    def _leases(self, waiting: Iterable[Sequence]) -> list[Lease]:
        return [*self._pins.unanswered(), *(lease for run in waiting for lease in run.leases)]

    def _to_check(self, lease: Lease) -> bool:
        return lease.slot is not None and self._verifier.wanted(lease.source.digest)

    def _error(self, run: Sequence) -> EngineError | None:
        for lease in run.leases:
            if (error := lease.error or self._verifier.error(lease.source.digest)) is not None:
                return error
        if (misuse := _misuse(run)) is not None:
            return misuse
        if run.overdue(time.monotonic()):
            return DeadlineError(run.request.timeout_seconds or 0.0)
        if run.grammar is not None and run.grammar.done():
            reason = run.grammar.exception()
            return reason if reason is None or isinstance(reason, EngineError) else EngineFailedError(str(reason))
        return None


def _misuse(run: Sequence) -> EngineError | None:
    """Adapters that cannot act as they should: known once they have been read."""
    uses = run.request.adapters
    if len(uses) == 1 and uses[0].scale == 1:
        return None
    dora = (lease.source for lease in run.leases if lease.slot is not None and lease.slot.dora)
    return next(map(dora_refusal, dora), None)
