"""Public benchmarks on the engine in this process: names become versions, versions are measured by the harness."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from evaluation.errors import RepeatedModelError
from evaluation.harness.answers import OnProgress
from evaluation.harness.model import Tokenizer
from evaluation.harness.results import BenchmarkResult
from evaluation.harness.run import BenchmarkOptions, Measured, run_benchmarks
from service.engine.sampler import EngineSampler, Route
from service.inference.inference import Inference
from service.inference.target import Target


def benchmark_models(
    inference: Inference,
    tenant: str,
    models: Sequence[str | None],
    options: BenchmarkOptions,
    on_progress: OnProgress | None = None,
) -> list[BenchmarkResult]:
    """Measures the base (None) and adapters in mixed batches; one result for each, in order.

    A result's `model` is the pinned reference, or the base's public name.

    Raises:
        AdapterError: a model cannot be resolved.
        EvaluationError: a benchmark cannot be asked, or an adapter does nothing.
        EngineError: the engine cannot take it.
    """
    # Resolved once, so that an alias that moves meanwhile cannot mix two versions.
    targets: dict[str | None, Target] = {}
    for model in models:
        target = inference.resolve(tenant, model)
        if _name(target) in targets:
            raise RepeatedModelError(f"{model or 'base'} is {target.model}, which is measured already; name it once.")
        targets[_name(target)] = target
    sampler = EngineSampler(inference.engine, lambda name: _route(targets[name]))
    results = run_benchmarks(
        sampler,
        cast("Tokenizer", inference.base.tokenizer),
        inference.engine.context_tokens,
        [Measured(model=name, digest=_digest(inference, target)) for name, target in targets.items()],
        options,
        on_progress,
    )
    return [replace(result, model=result.model or inference.model_name) for result in results]


def _name(target: Target) -> str | None:
    return target.model if target.parts else None


def _digest(inference: Inference, target: Target) -> str:
    return inference.base.digest if target.version is None else target.version.digest


def _route(target: Target) -> Route:
    return Route(adapters=target.adapters, stop_ids=target.stop_ids, tenant=target.tenant)
