import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

pytest.importorskip("triton")

from base.loader import LoadedBase, LoadOptions, load
from base.source import BaseSource
from service.engine.lora.fold import FoldedAdapter, FoldedGroup
from service.engine.lora.groups import Group
from service.engine.lora.routing import Use, Uses
from service.engine.lora.triton_kernels import add_changes
from service.engine.model.acceleration import Acceleration, find_acceleration
from service.engine.model.batch import Span
from service.engine.model.recording import Recorded
from service.engine.model.runner import ModelRunner, Work
from service.engine.model.triton_attention import paged_decode
from service.engine.request import EngineConfig

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
CPU = torch.device("cpu")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not INTERPRETED and not torch.cuda.is_available(), reason="runs on CUDA, or interpreted in a process of its own"
    ),
]

CONFIG = EngineConfig(page_tokens=4, cache_bytes=1 << 18, max_num_seqs=5, max_num_batched_tokens=32, max_loras=6)
SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def eagerly(work: Callable[[], Tensor]) -> Recorded:
    logits_BV = work()

    def replay() -> None:
        logits_BV.copy_(work())

    return Recorded(replay, logits_BV)


def refuse(work: Callable[[], Tensor]) -> Recorded:
    raise RuntimeError(f"{work} is not to be recorded")


def tiny_base(window: int | None, device: torch.device) -> LoadedBase:
    torch.manual_seed(11)
    model: Any = LlamaForCausalLM(LlamaConfig(**SIZES))
    if window is not None:
        model = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=window))
    model.requires_grad_(requires_grad=False)
    return LoadedBase(
        name="tiny",
        digest="sha256:tiny",
        model=model.to(device).eval(),
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE())),
        device=device,
        dtype=torch.float32,
        quantization="none",
    )


def random_adapter(groups: Sequence[Group], rank: int, seed: int) -> FoldedAdapter:
    draw = torch.Generator().manual_seed(seed)
    folded = {}
    for group in groups:
        a_IR = torch.randn(group.in_features, rank * len(group.names), generator=draw) / group.in_features**0.5
        b_PRF = torch.randn(len(group.pieces), rank, group.piece_features, generator=draw) / rank**0.5 * 0.1
        folded[group.name] = FoldedGroup(a_IR, b_PRF, None)
    return FoldedAdapter(rank, folded)


def place(runners: Sequence[ModelRunner], rank: int, seed: int) -> Use:
    """In the same slot of each."""
    uses = {Use(runner.slots.write(random_adapter(runner.groups, rank, seed))) for runner in runners}
    (use,) = uses
    return use


class Sequences:
    """Five of them, which go on with each step."""

    def __init__(self) -> None:
        self.lengths = [0] * 5

    def works(self, rows: Sequence[tuple[int, Uses, int]]) -> list[Work]:
        works = []
        for row, uses, count in rows:
            start = self.lengths[row]
            self.lengths[row] += count
            ids = [(17 * row + 5 * at) % 90 for at in range(start, start + count)]
            works.append(Work(Span(ids, start, [row + 5 * at for at in (2, 0, 3, 1)]), uses, [count - 1]))
        return works


def agree(runners: Sequence[ModelRunner], steps: Sequence[Sequence[tuple[int, Uses, int]]]) -> None:
    sequences = Sequences()
    for step in steps:
        works = sequences.works(step)
        expected, *others = (runner.run(works).cpu() for runner in runners)
        for found in others:
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def assert_recorded(runner: ModelRunner) -> None:
    assert runner._graphs is not None
    assert not runner._graphs._broken
    assert len(runner._graphs._graphs) > 1


def mixed_steps(one: Use, two: Use, large: Use) -> list[list[tuple[int, Uses, int]]]:
    """Prompts, prompts beside single tokens, and single tokens of any number of sequences."""
    both: Uses = (replace(two, scale=-0.5), large)
    return [
        [(0, (one,), 6), (1, (), 3)],
        [(0, (one,), 1), (1, (), 1), (2, both, 5), (3, (large,), 2)],
        [(0, (one,), 1), (1, (), 1), (2, both, 1)],
        [(2, both, 1), (3, (large,), 1), (4, (two,), 1)],
        [(1, (), 1)],
        [(0, (one,), 1), (2, both, 1), (3, (large,), 1), (4, (two,), 1), (1, (), 1)],
        [(1, (), 1), (4, (), 1)],
    ]


@pytest.mark.parametrize("window", [None, 5])
def test_an_accelerated_runner_gives_the_plain_ones_logits(window: int | None) -> None:
    acceleration = Acceleration(add_changes, paged_decode, eagerly) if INTERPRETED else find_acceleration(DEVICE)
    runners = [
        ModelRunner(tiny_base(window, CPU), CONFIG),
        ModelRunner(tiny_base(window, DEVICE), CONFIG, acceleration),
    ]
    agree(runners, mixed_steps(place(runners, 8, 1), place(runners, 8, 2), place(runners, 16, 3)))
    assert_recorded(runners[1])


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_a_cuda_graph_gives_what_the_same_kernels_give_one_by_one(quantization: Any, tiny_base_folder: Path) -> None:
    acceleration = find_acceleration(DEVICE)
    assert acceleration is not None
    options = LoadOptions(device="cuda", dtype="float32", quantization=quantization)
    runners = [
        ModelRunner(load(BaseSource("tiny", tiny_base_folder), options), CONFIG, each)
        for each in (replace(acceleration, record=refuse), acceleration)
    ]
    agree(runners, mixed_steps(place(runners, 8, 1), place(runners, 8, 2), place(runners, 16, 3)))
    assert_recorded(runners[1])


def test_a_cuda_graph_is_captured_while_another_thread_loads_adapters() -> None:
    runners = [ModelRunner(tiny_base(None, CPU), CONFIG), ModelRunner(tiny_base(None, DEVICE), CONFIG)]
    one, two, large = place(runners, 8, 1), place(runners, 8, 2), place(runners, 16, 3)
    loaded = [random_adapter(runners[1].groups, rank, rank).pinned() for rank in (8, 16, 32, 64)]
    ended = threading.Event()

    def load_again_and_again() -> None:
        while not ended.is_set():
            for slot in [runners[1].slots.write(adapter) for adapter in loaded[:3]]:
                runners[1].slots.free(slot)

    loader = threading.Thread(target=load_again_and_again)
    loader.start()
    try:
        agree(runners, mixed_steps(one, two, large))
    finally:
        ended.set()
        loader.join()
    assert_recorded(runners[1])
    # A stack that came after the captures.
    late = place(runners, 64, 9)
    agree(runners, [[(0, (late,), 1), (1, (one,), 1)], [(0, (late,), 1), (1, (one,), 1)]])


def test_a_cuda_graph_or_not_a_slot_holds_what_was_written_from_pinned_memory() -> None:
    runner = ModelRunner(tiny_base(None, DEVICE), CONFIG)
    adapter = random_adapter(runner.groups, 16, 4).pinned()
    slot = runner.slots.write(adapter)
    for name, part in adapter.groups.items():
        assert part.a_IR.is_pinned()
        stack = runner.slots.stack(16, name)
        assert torch.equal(stack.a_SIR[slot.index].cpu(), part.a_IR)
        assert torch.equal(stack.b_SPRF[slot.index].cpu(), part.b_PRF)
        assert stack.ranks_SN[slot.index].tolist() == [16] * stack.ranks_SN.shape[1]
