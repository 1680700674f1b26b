"""A candidate before a gate in the command's own process: the server's steps, one after the other."""

import time

from service.cli.console import err
from service.cli.local import local_inference
from service.evaluation.run import carry_out, open_desk
from service.gate.bench import open_bench
from service.gate.gate import GateCheck
from service.gate.gates import Gates
from service.gate.procedure import Procedure
from service.settings import Settings

_LOOK_SECONDS = 0.5
"""Where a server works on the same database, it may have taken an evaluation."""


def run_gate_here(settings: Settings, check: GateCheck) -> GateCheck:
    """Leads a check that was asked for to its end.

    Raises:
        AdapterError: the candidate cannot be used on this base.
        BaseModelError: the base cannot be had.
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
            procedure.advance(check, bench)
            claim = desk.claims.claim(bench.base_digest)
            if claim is None:
                time.sleep(_LOOK_SECONDS)
            else:
                carry_out(desk, inference, claim, progress)
            check = gates.check(check.tenant, check.adapter, check.alias, check.id)
        return check
