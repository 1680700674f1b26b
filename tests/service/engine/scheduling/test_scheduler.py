"""The scheduler with real pages and a real queue; a list of tokens stands where the model would be."""

from collections.abc import Sequence as Ordered
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.engine.cache.pages import Pages
from service.engine.cache.prefix import PrefixRoot
from service.engine.errors import EngineError
from service.engine.lora.slots import Slot
from service.engine.request import (
    AdapterSource,
    AdapterUse,
    FinishReason,
    GenerationRequest,
    SamplingParams,
    TokenLogprob,
)
from service.engine.residency.leases import Lease
from service.engine.sampling.sampler import Choice
from service.engine.scheduling.pace import Pace
from service.engine.scheduling.scheduler import Part, Scheduler, SchedulerLimits
from service.engine.scheduling.sequence import Sequence

Content = tuple[PrefixRoot, tuple[int, ...]]


class Log:
    """An output that writes down what it is told."""

    cancelled = False

    def __init__(self) -> None:
        self.cached: list[int] = []

    def admitted(self, cached_tokens: int) -> None:
        self.cached.append(cached_tokens)

    def scored(self, logprobs: Ordered[TokenLogprob]) -> None:
        raise AssertionError(logprobs)

    def chosen(self, choice: Choice) -> bool:
        raise AssertionError(choice)

    def ended(self, reason: FinishReason) -> None:
        raise AssertionError(reason)

    def failed(self, error: EngineError) -> None:
        raise AssertionError(error)


class World:
    """Scheduler, pages, and what each token slot of the cache holds."""

    def __init__(self, num_pages: int = 8, page_tokens: int = 4, caching: bool = True, **limits: int) -> None:
        bounds = {"max_num_seqs": 4, "max_num_batched_tokens": 12, "max_logit_rows": 6, **limits}
        self.limits = SchedulerLimits(**bounds)
        self.pages = Pages(num_pages, page_tokens, caching)
        self.scheduler = Scheduler(self.pages, self.limits, self.is_ready, Pace())
        self.slots: dict[int, Content] = {}
        self.scored: dict[Sequence, list[int]] = {}
        self.most_new: dict[Sequence, int] = {}

    def is_ready(self, sequence: Sequence) -> bool:
        return all(lease.slot is not None for lease in sequence.leases)

    def push(
        self,
        prompt_ids: Ordered[int],
        num_new: int = 1,
        tenant: str = "default",
        adapter: str | None = None,
        score_from: int | None = None,
        slot: int | None = 0,
    ) -> Sequence:
        sources = [] if adapter is None else [AdapterSource(adapter, Path(adapter))]
        request = GenerationRequest(
            prompt_ids=tuple(prompt_ids),
            params=SamplingParams(max_tokens=num_new),
            stop_ids=frozenset(),
            adapters=tuple(map(AdapterUse, sources)),
            tenant=tenant,
        )
        sequence = Sequence(request, Log(), score_from=score_from)
        sequence.leases = tuple(map(Lease, sources))
        for lease in sequence.leases:
            lease.slot = None if slot is None else Slot(8, slot, frozenset(), dora=False)
        self.scored[sequence], self.most_new[sequence] = [], num_new
        self.scheduler.waiting.push(sequence)
        return sequence

    def step(self) -> list[Part]:
        """One step, with all that must hold of it."""
        parts = self.scheduler.plan()
        self.check_integrity()
        self.clear()
        assert all(part.count > 0 for part in parts)
        assert sum(part.count for part in parts) <= self.limits.max_num_batched_tokens
        assert len({id(part.sequence) for part in parts}) == len(parts)
        singles = [part.count == 1 for part in parts]
        assert singles == sorted(singles, reverse=True)
        rows = sum(len(part.sequence.wanted(part.count)) + self.chooses(part) for part in parts)
        assert rows <= self.limits.max_logit_rows
        for part in parts:
            self.write(part)
        for part in parts:
            self.compute(part)
        self.check_integrity()
        return parts

    def chooses(self, part: Part) -> bool:
        return part.count == part.sequence.num_left and self.most_new[part.sequence] > 0

    def clear(self) -> None:
        """Before anything is written: what a sequence has not computed yet holds nothing of others."""
        size = self.pages.page_tokens
        for page in self.scheduler.take_to_clear():
            for at in range(page * size, (page + 1) * size):
                self.slots.pop(at, None)
        for run in self.scheduler.running:
            assert run.table is not None
            rest = range(run.num_computed, len(run.table.pages) * size)
            assert not any(self.slot(run, position) in self.slots for position in rest)

    def write(self, part: Part) -> None:
        """Keys and values of the part's tokens; no other's that is still read may be overwritten."""
        run = part.sequence
        for position in range(run.num_computed, run.num_computed + part.count):
            self.slots[self.slot(run, position)] = self.content(run, position)

    def compute(self, part: Part) -> None:
        run = part.sequence
        wanted = run.wanted(part.count)
        self.scored[run] += [run.num_computed + at for at in wanted]
        if run.num_scored is not None:
            run.num_scored += len(wanted)
        self.scheduler.computed(part)
        for position in range(run.num_computed):
            assert self.slots[self.slot(run, position)] == self.content(run, position)
        if run.num_left:
            return
        if len(run.token_ids) < run.num_prompt + self.most_new[run]:
            self.scheduler.proven(run, run.num_computed)
            run.token_ids.append(100 + len(run.token_ids))
        if len(run.token_ids) == run.num_prompt + self.most_new[run]:
            self.scheduler.finish(run)

    def slot(self, run: Sequence, position: int) -> int:
        assert run.table is not None
        size = self.pages.page_tokens
        return run.table.pages[position // size] * size + position % size

    def content(self, run: Sequence, position: int) -> Content:
        return run.root, tuple(run.token_ids[: position + 1])

    def finish_all(self, most_steps: int = 2000) -> None:
        for _ in range(most_steps):
            if not self.scheduler.running and not len(self.scheduler.waiting):
                return
            # Something runs in every step, so that nothing is waited for in vain.
            assert self.step()
        raise AssertionError

    def check_integrity(self) -> None:
        self.scheduler.check_integrity()
        assert not any(run in self.scheduler.waiting for run in self.scheduler.running)
        assert all(run.table is None for run in self.scheduler.waiting)


def counts(parts: Ordered[Part]) -> list[int]:
    return [part.count for part in parts]


def log(sequence: Sequence) -> Log:
    assert isinstance(sequence.output, Log)
    return sequence.output


def test_a_prompt_is_computed_in_chunks_beside_running_answers() -> None:
    world = World(num_pages=20)
    world.push(range(3), num_new=20)
    world.push(range(50, 53), num_new=20)
    assert counts(world.step()) == [3, 3]
    world.push(range(10, 40), num_new=2)
    assert [counts(world.step()) for _ in range(4)] == [[1, 1, 10], [1, 1, 10], [1, 1, 10], [1, 1, 1]]


def test_no_more_run_than_may() -> None:
    world = World(max_num_seqs=2)
    for at in range(5):
        world.push([at], num_new=2)
    assert [counts(world.step()) for _ in range(5)] == [[1, 1], [1, 1], [1, 1], [1, 1], [1]]


def test_who_is_not_ready_is_passed_over_and_runs_when_it_is() -> None:
    world = World()
    late = world.push([1], adapter="a", slot=None)
    world.push([2])
    assert [part.sequence is late for part in world.step()] == [False]
    assert world.step() == []
    late.leases[0].slot = Slot(8, 0, frozenset(), dora=False)
    assert [part.sequence is late for part in world.step()] == [True]


def test_equal_adapters_stand_side_by_side() -> None:
    world = World(num_pages=20, max_num_seqs=8, max_num_batched_tokens=16, max_logit_rows=8)
    for at, slot in enumerate([1, None, 0, 1, 0, None]):
        world.push([at], num_new=3, adapter=None if slot is None else str(slot), slot=slot)
    for _ in range(3):
        slots = [part.sequence.leases[0].slot for part in world.step() if part.sequence.leases]
        assert [slot.index for slot in slots if slot is not None] == [0, 0, 1, 1]


def test_the_youngest_gives_way_and_loses_nothing_but_time() -> None:
    world = World(num_pages=6, caching=False)
    first, second = world.push(range(9), num_new=8), world.push(range(20, 29), num_new=8)
    while not world.scheduler.num_preemptions:
        world.step()
    assert (first in world.scheduler.running, second in world.scheduler.waiting) == (True, True)
    assert second.token_ids[:9] == list(range(20, 29))
    assert len(second.token_ids) > 9
    world.finish_all()
    assert len(first.token_ids) == len(second.token_ids) == 17


def test_copies_of_a_prompt_wait_for_the_first_and_share_it() -> None:
    world = World(num_pages=20, max_num_batched_tokens=6)
    copies = [world.push(range(10), num_new=2) for _ in range(3)]
    other = world.push(range(30, 33), num_new=1)
    assert [counts(world.step()) for _ in range(2)] == [[6], [4, 2]]
    world.finish_all()
    assert [log(run).cached for run in (*copies, other)] == [[0], [8], [8], [0]]


def test_copies_do_not_wait_where_nothing_would_be_shared() -> None:
    for values in ({"caching": False}, {"page_tokens": 16}):
        world = World(**{"num_pages": 20, "max_num_batched_tokens": 40, **values})  # type: ignore[arg-type]
        for _ in range(3):
            world.push(range(10))
        assert counts(world.step()) == [10, 10, 10]
    world = World(num_pages=20, max_num_batched_tokens=40, max_logit_rows=40)
    for _ in range(3):
        world.push(range(10), score_from=1)
    assert counts(world.step()) == [10, 10, 10]


def test_the_rows_of_logits_are_bounded_also_at_a_prompts_end() -> None:
    for length in range(2, 12):
        world = World(num_pages=40, max_logit_rows=4, max_num_seqs=4, max_num_batched_tokens=64)
        runs = [world.push([at] * length, num_new=2, score_from=1) for at in range(4)]
        world.finish_all()
        assert [world.scored[run] for run in runs] == [list(range(length - 1))] * 4


class Machine(RuleBasedStateMachine):
    """Any order of arrivals, steps and cancellations, with little room."""

    @initialize(
        page_tokens=st.sampled_from([1, 2, 4]),
        caching=st.booleans(),
        seqs=st.integers(1, 5),
        tokens=st.integers(5, 20),
        rows=st.integers(0, 4),
    )
    def begin(self, page_tokens: int, caching: bool, seqs: int, tokens: int, rows: int) -> None:
        self.world = World(
            num_pages=32 // page_tokens,
            page_tokens=page_tokens,
            caching=caching,
            max_num_seqs=seqs,
            max_num_batched_tokens=tokens,
            max_logit_rows=seqs + rows,
        )

    @rule(
        prompt=st.lists(st.integers(0, 1), min_size=1, max_size=20),
        num_new=st.integers(0, 12),
        tenant=st.sampled_from("xy"),
        adapter=st.sampled_from([None, "a", "b"]),
        scored=st.booleans(),
        is_ready=st.booleans(),
    )
    def arrive(
        self, prompt: list[int], num_new: int, tenant: str, adapter: str | None, scored: bool, is_ready: bool
    ) -> None:
        start = 1 if scored and len(prompt) > 1 else None
        slot = {"a": 0, "b": 1, None: None}[adapter] if is_ready else None
        self.world.push(prompt, num_new, tenant, adapter, start, slot)

    @rule()
    def adapters_come(self) -> None:
        for sequence in self.world.scheduler.waiting:
            for lease in sequence.leases:
                lease.slot = Slot(8, ord(lease.source.digest) - ord("a"), frozenset(), dora=False)

    @rule(number=st.integers(1, 5))
    def step(self, number: int) -> None:
        for _ in range(number):
            self.world.step()

    @precondition(lambda self: self.world.scheduler.running)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.world.scheduler.running))
        free = self.world.pages.num_free
        self.world.scheduler.finish(run)
        del self.world.scored[run]
        assert self.world.pages.num_free >= free

    @invariant()
    def all_is_in_order(self) -> None:
        if hasattr(self, "world"):
            self.world.check_integrity()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.adapters_come()
        self.world.finish_all()
        assert self.world.pages.usage == 0
        for run, found in self.world.scored.items():
            assert len(run.token_ids) == run.num_prompt + self.world.most_new[run]
            assert found == ([] if run.num_scored is None else list(range(run.num_prompt - 1)))


Machine.TestCase.settings = settings(max_examples=80, stateful_step_count=25)
TestScheduler = Machine.TestCase
