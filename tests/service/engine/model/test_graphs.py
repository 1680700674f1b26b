from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.config import LoraConfig
from adapters.weights import load_weights
from base.loader import LoadOptions, load
from base.source import BaseSource
from service.engine.lora.fold import fold
from service.engine.lora.grouped_routing import ADAPTERS_PER_ROW
from service.engine.lora.routing import Use, Uses
from service.engine.model import graphs
from service.engine.model.acceleration import Acceleration, compiles, find_acceleration
from service.engine.model.batch import Span
from service.engine.model.graphs import batch_sizes
from service.engine.model.recording import Recorded
from service.engine.model.runner import ModelRunner, Work
from service.engine.request import AdapterSource, EngineConfig

NUM_SEQUENCES, PAGES_EACH, PAGE_TOKENS = 6, 4, 4


@dataclass
class Recordings:
    """Counts what is recorded and replayed."""

    acceleration: Acceleration
    sizes: list[int] = field(default_factory=list)
    num_replays: int = 0
    fails: bool = False

    def record(self, work: Callable[[], Tensor]) -> Recorded:
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        recorded = self.acceleration.record(work)
        self.sizes.append(len(recorded.logits_BV))

        def replay() -> None:
            self.num_replays += 1
            recorded.replay()

        return Recorded(replay, recorded.logits_BV)


class Pair:
    """An accelerated runner beside a plain one, with the same adapters and the same sequences."""

    def __init__(self, folder: Path, acceleration: Acceleration, **config: Any) -> None:
        self.recordings = Recordings(acceleration)
        settings = {"page_tokens": PAGE_TOKENS, "cache_bytes": 1 << 18, "max_num_seqs": NUM_SEQUENCES, **config}
        self.plain, self.accelerated = (
            ModelRunner(load(BaseSource("tiny", folder), LoadOptions(device="cpu")), EngineConfig(**settings), each)
            for each in (None, replace(acceleration, record=self.recordings.record))
        )
        self.lengths = [0] * NUM_SEQUENCES

    def place(self, source: AdapterSource, scale: float = 1.0) -> Use:
        config = LoraConfig.read(source.folder)
        weights = load_weights(source.folder, config)
        slots = {
            runner.slots.write(fold(weights, config, runner.groups, runner.products, torch.float32))
            for runner in (self.plain, self.accelerated)
        }
        (slot,) = slots
        return Use(slot, scale)

    def check(self, rows: Sequence[tuple[int, Uses]], count: int = 1, *, wanted: Sequence[int] | None = None) -> Tensor:
        """The next tokens of these sequences, in one step; of all sequences, or of some, the logits are looked at."""
        works = []
        for row, uses in rows:
            start = self.lengths[row]
            self.lengths[row] += count
            ids = [(31 * row + 7 * at) % 300 for at in range(start, start + count)]
            pages = [row + NUM_SEQUENCES * at for at in range(PAGES_EACH)]
            works.append(Work(Span(ids, start, pages), uses, [0] if wanted is None or row in wanted else []))
        expected, found = self.plain.run(works), self.accelerated.run(works)
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4)
        return found


@pytest.fixture
def make_pair(tiny_base_folder: Path, torch_acceleration: Acceleration) -> Callable[..., Pair]:
    def make(**config: Any) -> Pair:
        return Pair(tiny_base_folder, torch_acceleration, **config)

    return make


def test_sizes_are_powers_of_two_and_the_largest() -> None:
    assert [batch_sizes(largest) for largest in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_the_cpu_has_no_acceleration() -> None:
    assert find_acceleration(torch.device("cpu")) is None


def test_kernels_that_do_not_compile_are_left_out(
    torch_acceleration: Acceleration, caplog: pytest.LogCaptureFixture
) -> None:
    def decode(*_: Any, **__: Any) -> Tensor:
        raise RuntimeError("Failed to find C compiler")

    assert compiles(torch_acceleration.decode, torch.device("cpu"))
    assert not caplog.records
    assert not compiles(decode, torch.device("cpu"))
    assert "RuntimeError: Failed to find C compiler" in caplog.text


def test_sequences_that_come_grow_and_go_get_the_plain_runners_logits(
    make_pair: Callable[..., Pair], adapters: list[AdapterSource]
) -> None:
    pair = make_pair()
    small, large = pair.place(adapters[0]), pair.place(adapters[1])
    assert small.slot.rank != large.slot.rank
    uses: list[Uses] = [(), (small,), (small,), (large,), (replace(large, scale=0.5), small), ()]
    pair.check([(row, uses[row]) for row in range(4)], 3, wanted=[])
    for rows in ([0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [1, 3], [3], [0, 5], [1, 4], [1, 2, 3, 4], range(6)):
        pair.check([(row, uses[row]) for row in rows])
    assert pair.recordings.num_replays == 10


def test_a_graph_serves_every_step_of_its_size_and_ranks(
    make_pair: Callable[..., Pair], adapters: list[AdapterSource]
) -> None:
    pair = make_pair()
    one = pair.place(adapters[0])
    for _ in range(3):
        pair.check([(0, ()), (1, ()), (2, ())])
    assert pair.recordings.sizes == [4]
    pair.check([(0, ()), (1, (one,)), (2, ())])
    pair.check([(0, (one,)), (1, (one,)), (2, ()), (3, ())])
    assert pair.recordings.sizes == [4, 4]
    # Into the slots of the same stack.
    another = pair.place(adapters[3 + 1])
    assert another.slot.rank == one.slot.rank
    pair.check([(0, (another,)), (1, (one,)), (2, ()), (3, ())])
    assert pair.recordings.sizes == [4, 4]


def test_a_stack_of_a_new_rank_is_in_another_graph(
    make_pair: Callable[..., Pair], adapters: list[AdapterSource]
) -> None:
    pair = make_pair()
    small = pair.place(adapters[0])
    pair.check([(0, (small,)), (1, ())])
    large = pair.place(adapters[1])
    pair.check([(0, (small,)), (1, ())])
    assert len(pair.recordings.sizes) == 1
    pair.check([(0, (small,)), (1, (large,))])
    pair.check([(0, (large,)), (1, (large,))])
    pair.check([(0, (small,)), (1, (large,))])
    assert len(pair.recordings.sizes) == 3


def test_an_adapter_that_replaces_another_is_seen_by_the_old_graph(
    make_pair: Callable[..., Pair], adapters: list[AdapterSource]
) -> None:
    pair = make_pair(max_loras=1)
    first = pair.place(adapters[0])
    pair.check([(0, (first,))])
    for runner in (pair.plain, pair.accelerated):
        runner.slots.free(first.slot)
    # It changes two layers alone: in the others nothing may be left of the first.
    partial = pair.place(adapters[5])
    assert (partial.slot.rank, partial.slot.index) == (first.slot.rank, first.slot.index)
    pair.check([(0, (partial,))])
    assert len(pair.recordings.sizes) == 1


def test_prompts_dora_and_steps_beyond_the_capacity_go_without_a_graph(
    make_pair: Callable[..., Pair], adapters: list[AdapterSource]
) -> None:
    pair = make_pair()
    dora, plain = pair.place(adapters[3]), pair.place(adapters[0])
    pair.check([(0, (plain,)), (1, ())], 3, wanted=[0, 1])
    pair.check([(0, (plain,)), (1, (dora,))])
    many = tuple(pair.place(adapters[0], 0.2) for _ in range(ADAPTERS_PER_ROW + 1))
    pair.check([(0, many), (1, ())])
    assert pair.recordings.sizes == []
    pair.check([(0, many[1:]), (1, ())])
    assert pair.recordings.sizes == [2]


def test_only_the_wanted_rows_come_back(make_pair: Callable[..., Pair]) -> None:
    pair = make_pair()
    assert len(pair.check([(0, ()), (1, ()), (2, ())], wanted=[2])) == 1
    assert len(pair.check([(0, ()), (1, ()), (2, ())], wanted=[])) == 0
    assert pair.recordings.num_replays == 2


def test_logits_are_not_overwritten_by_the_next_step(make_pair: Callable[..., Pair]) -> None:
    pair = make_pair()
    logits = pair.check([(0, ()), (1, ())])
    kept = logits.clone()
    pair.check([(0, ()), (1, ())])
    assert torch.equal(logits, kept)


def test_rows_without_a_sequence_touch_no_page_that_sequences_have(make_pair: Callable[..., Pair]) -> None:
    pair = make_pair()
    for _ in range(3):
        pair.check([(0, ()), (1, ()), (4, ())])
    cache = pair.accelerated.cache
    for layer in cache.layers:
        pages = layer.unflatten(0, (-1, PAGE_TOKENS)).flatten(1)
        touched = pages.any(dim=1).nonzero().flatten().tolist()
        assert touched == [0, 1, 4, cache.scratch_page]


def test_a_model_that_cannot_be_captured_runs_without_graphs(
    make_pair: Callable[..., Pair], adapters: list[AdapterSource], caplog: pytest.LogCaptureFixture
) -> None:
    pair = make_pair()
    one = pair.place(adapters[0])
    pair.recordings.fails = True
    pair.check([(0, ()), (1, (one,))])
    pair.recordings.fails = False
    pair.check([(0, ()), (1, (one,))])
    assert pair.recordings.sizes == []
    assert [record.message for record in caplog.records if record.name == graphs.__name__] == [
        "decoding goes on without CUDA graphs: operation not permitted when stream is capturing"
    ]


def test_the_graph_that_was_not_used_for_longest_is_dropped(
    make_pair: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "MAX_GRAPHS", 2)
    pair = make_pair()
    for rows in (1, 2, 1, 4, 1, 2):
        pair.check([(row, ()) for row in range(rows)])
    assert pair.recordings.sizes == [1, 2, 4, 2]
