from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from corpus.tokens import RowTokens
from service.preflight.estimate import RunPlan, estimate, memory_request
from service.preflight.machine import MachineMemory
from service.preflight.shape import ModelShape
from training.config import TrainingConfig
from training.rows.order import Schedule
from training.rows.parts import Part

Counts = Callable[..., list[RowTokens]]


def plan(quantization: Any = "none", **config: Any) -> RunPlan:
    return RunPlan(config=TrainingConfig(**config), quantization=quantization, dtype_bytes=2)


@pytest.mark.parametrize("config", [{}, {"epochs": 0.5}, {"epochs": 2.4, "batch_size": 3}, {"max_steps": 7}])
def test_steps_and_tokens_are_the_trainers(
    tiny_shape: ModelShape, roomy: MachineMemory, counts: Counts, config: dict[str, Any]
) -> None:
    rows = counts(*[10] * 50)
    run = plan(**config)
    schedule = Schedule(
        parts=(Part(50),),
        batch_size=run.config.batch_size,
        accumulation=run.config.gradient_accumulation,
        epochs=run.config.epochs,
        max_steps=run.config.max_steps,
        seed=0,
    )
    found = estimate(tiny_shape, run, rows, roomy)
    assert (found.steps, found.steps_per_epoch) == (schedule.total_steps, schedule.steps_per_epoch)
    trained = sum(10 * len(schedule.step_rows(step)) for step in range(schedule.total_steps))
    assert found.tokens == pytest.approx(trained, rel=0.1)
    assert found.labelled_tokens * 2 == pytest.approx(found.tokens, abs=2)


def test_a_files_weight_counts_in_steps_and_tokens(
    tiny_shape: ModelShape, roomy: MachineMemory, counts: Counts
) -> None:
    rows = [*counts(*[10] * 30), *(replace(row, file="b", weight=2.5) for row in counts(*[20] * 8))]
    found = estimate(tiny_shape, plan(batch_size=10, epochs=2), rows, roomy)
    assert (found.steps_per_epoch, found.steps) == (5, 10)
    assert found.tokens == 2 * (30 * 10 + 2.5 * 8 * 20)
    assert found.labelled_tokens * 2 == found.tokens


def test_the_largest_pass_is_bounded_by_the_pack_and_by_the_rows(roomy: MachineMemory, counts: Counts) -> None:
    rows = counts(100, 900, 300, 200)
    assert memory_request(plan(batch_size=2), rows, roomy).pass_tokens == 1200
    assert memory_request(plan(batch_size=2, pack_tokens=1000), rows, roomy).pass_tokens == 1000
    assert memory_request(plan(batch_size=2, pack_tokens=500), rows, roomy).pass_tokens == 900
    assert memory_request(plan(batch_size=3, layout="padded"), rows, roomy).pass_tokens == 2700
    assert memory_request(plan(batch_size=2), rows, roomy).pass_labelled == 600


def test_a_run_that_fits_needs_no_remedy(eight_billion: ModelShape, roomy: MachineMemory, counts: Counts) -> None:
    found = estimate(eight_billion, plan("nf4"), counts(*[1000] * 40), roomy)
    assert found.fits
    assert found.remedies == ()
    assert found.needs_bytes == found.memory.total_bytes
    assert found.adapter_bytes == 4 * 41_943_040


def test_one_that_does_not_is_told_the_mildest_changes_with_which_it_would(
    eight_billion: ModelShape, counts: Counts
) -> None:
    machine = MachineMemory(free_bytes=20 << 30, resident_bytes=0)
    found = estimate(eight_billion, plan(), counts(*[1000] * 40), machine)
    assert not found.fits
    assert [remedy.change for remedy in found.remedies] == ["--activation-checkpointing", "--quantization int8"]
    assert all(remedy.needs_bytes <= 0.9 * machine.free_bytes < found.needs_bytes for remedy in found.remedies)


def test_where_no_single_change_is_enough_all_are_tried_together(eight_billion: ModelShape, counts: Counts) -> None:
    rows = counts(*[1000] * 40)
    found = estimate(eight_billion, plan(), rows, MachineMemory(free_bytes=9 << 30, resident_bytes=0))
    (remedy,) = found.remedies
    assert "--quantization nf4" in remedy.change
    assert "--activation-checkpointing" in remedy.change
    assert estimate(eight_billion, plan(), rows, MachineMemory(free_bytes=1 << 30, resident_bytes=0)).remedies == ()


def test_a_padded_run_is_told_a_smaller_batch(eight_billion: ModelShape, counts: Counts) -> None:
    machine = MachineMemory(free_bytes=40 << 30, resident_bytes=0)
    found = estimate(eight_billion, plan(layout="padded", batch_size=16), counts(*[1000] * 40), machine)
    assert found.remedies[0].change.startswith("--batch-size ")


def applied(run: RunPlan, change: str) -> RunPlan:
    """`run` as the flags in `change` would make it."""
    words = change.split()
    while words:
        flag = words.pop(0).removeprefix("--").replace("-", "_")
        if flag == "quantization":
            run = replace(run, quantization=words.pop(0))  # type: ignore[arg-type]
        else:
            run = run.with_config(**{flag: True if flag == "activation_checkpointing" else int(words.pop(0))})
    return run


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("free_gib", [8, 12, 16, 20])
def test_every_remedy_is_enough_when_it_is_applied(
    eight_billion: ModelShape, counts: Counts, layout: str, on_cpu: bool, free_gib: int
) -> None:
    rows = counts(*range(200, 1000, 20))
    machine = MachineMemory(free_bytes=free_gib << 30, resident_bytes=1 << 29)
    run = replace(plan(layout=layout, batch_size=16), on_cpu=on_cpu)
    found = estimate(eight_billion, run, rows, machine)
    assert not found.fits
    for remedy in found.remedies:
        again = estimate(eight_billion, applied(run, remedy.change), rows, machine)
        assert again.fits
        assert again.needs_bytes == remedy.needs_bytes


def test_there_is_a_remedy_where_the_weights_alone_would_fit(eight_billion: ModelShape, counts: Counts) -> None:
    machine = MachineMemory(free_bytes=22 << 30, resident_bytes=0)
    assert estimate(eight_billion, plan(batch_size=16), counts(*[1000] * 40), machine).remedies


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_adapters_with_a_start_of_their_own_are_twice_as_large_and_take_more(
    tiny_shape: ModelShape, roomy: MachineMemory, counts: Counts, init: str
) -> None:
    rows = counts(*[50] * 40)
    plain, other = (estimate(tiny_shape, plan(init=kind), rows, roomy) for kind in ("default", init))
    assert other.adapter_bytes == 2 * plain.adapter_bytes
    assert other.memory.adapter_bytes > plain.memory.adapter_bytes
    assert other.memory.activations_bytes > plain.memory.activations_bytes
