"""Evaluations for gates, prepared as those that people ask for."""

from evaluation.runs.run import NewRun
from evaluation.suites.store import StoredSuite
from service.evaluation.request import Wanted, new_run
from service.gate.procedure import Bench
from service.inference.inference import Inference
from service.settings import Settings


def open_bench(settings: Settings, inference: Inference) -> Bench:
    """The base of `inference`."""

    def prepare(tenant: str, suite: StoredSuite, models: tuple[str | None, ...], actor: str) -> NewRun:
        wanted = Wanted(models=models, suite=suite.suite, name=suite.name, actor=actor)
        return new_run(settings, inference, tenant, wanted)

    return Bench(base_digest=inference.base.digest, prepare=prepare)
