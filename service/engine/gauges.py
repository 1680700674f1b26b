"""What the metrics show of every step."""

from collections.abc import Iterable

from service.engine.cache.pages import Pages
from service.engine.metrics import EngineMetrics
from service.engine.scheduling.scheduler import Scheduler
from service.engine.scheduling.sequence import Sequence


class StepGauges:
    """The engine's state after a step, as the metrics want it; engine thread only."""

    def __init__(self, scheduler: Scheduler, pages: Pages, metrics: EngineMetrics) -> None:
        self._scheduler, self._pages, self._metrics = scheduler, pages, metrics
        self._num_preemptions = 0
        self._waiting_adapters: list[str] = []

    def look_at_waiting(self) -> None:
        """Whose adapters wait; going through all of them at each step would take its time."""
        self._waiting_adapters = _names(self._scheduler.waiting)

    def count(self, num_tokens: int) -> None:
        """A step of so many tokens is over."""
        running, waiting = self._scheduler.running, self._scheduler.waiting
        for _ in range(self._scheduler.num_preemptions - self._num_preemptions):
            self._metrics.preempted()
        self._num_preemptions = self._scheduler.num_preemptions
        self._metrics.step(
            running=len(running),
            waiting=len(waiting),
            tokens=num_tokens,
            cache_usage=self._pages.usage,
            prefix_queries=self._pages.queries,
            prefix_hits=self._pages.hits,
            running_adapters=_names(running),
            waiting_adapters=self._waiting_adapters if len(waiting) else [],
        )


def _names(runs: Iterable[Sequence]) -> list[str]:
    return sorted({use.source.name for run in runs for use in run.request.adapters})
