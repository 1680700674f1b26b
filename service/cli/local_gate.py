"""A candidate before a gate in the command's own process: the server's steps, one after the other."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from evaluation.runs.claims import RunClaim
from evaluation.runs.errors import RunStateError, StaleRunError
from service.cli.console import err
from service.cli.local import local_inference
from service.evaluation.renewal import renewed
from service.evaluation.run import Desk, carry_out, open_desk
from service.gate.bench import open_bench
from service.gate.gate import GateCheck
from service.gate.gates import Gates
from service.gate.procedure import Procedure
from service.inference.inference import Inference
from service.settings import Settings

_LOOK_SECONDS = 0.5
"""Where a server works on the same database, it may have taken an evaluation."""


def run_gate_here(settings: Settings, check: GateCheck) -> GateCheck:
    """Leads a check that was asked for to its end.

    Raises:
        AdapterError: the candidate cannot be used on this base.
        BaseModelError: the base cannot be had.
        TooManyRunsError: as many of the tenant's evaluations wait or run as may, and only servers would end them.
    """
    with local_inference(settings) as inference, err().status("evaluating") as status:
        inference.resolve(check.tenant, f"{check.adapter}:{check.candidate}")
        database = inference.registry.database
        desk, gates = open_desk(settings, database), Gates(database)
        procedure = Procedure(inference.registry, desk.runs, desk.suites)
        bench = open_bench(settings, inference)

        def progress(done: int, total: int) -> None:
            status.update(f"evaluating: {done} of {total} answers")

        while not check.ended:
            began = procedure.advance(check, bench)
            check = gates.check(check.tenant, check.adapter, check.alias, check.id)
            if check.status == "waiting" and not began:
                desk.runs.check_room(check.tenant, len(check.policy.all_suites))
            for claim in _claims(desk, check, bench.base_digest):
                _carry_out(settings, desk, inference, claim, progress)
            if not check.ended and not began:
                time.sleep(_LOOK_SECONDS)
        return check


def _claims(desk: Desk, check: GateCheck, base_digest: str) -> Iterator[RunClaim]:
    """Those of the check's evaluations that nobody has: others in the database are their owners' servers' to do."""
    for each in check.runs:
        if desk.runs.get(check.tenant, each.run_id).ended:
            continue
        # A server has it, or has just ended it.
        with suppress(RunStateError):
            yield desk.claims.resume(check.tenant, each.run_id, base_digest)


def _carry_out(
    settings: Settings, desk: Desk, inference: Inference, claim: RunClaim, progress: Callable[[int, int], None]
) -> None:
    try:
        with renewed(desk.claims, claim, settings.lease_seconds):
            carry_out(desk, inference, claim, progress)
    except KeyboardInterrupt:
        desk.claims.release(claim)
        raise
    except StaleRunError:
        # It was cancelled, which ends the check too.
        return
    except Exception as error:
        desk.claims.fail(claim, str(error))
        raise
