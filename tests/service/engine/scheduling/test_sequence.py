from pathlib import Path
from typing import Any

import pytest

from service.engine.lora.slots import Slot
from service.engine.outputs import Scoring
from service.engine.request import AdapterSource, AdapterUse, GenerationRequest, SamplingParams
from service.engine.residency.leases import Lease
from service.engine.scheduling.sequence import Sequence

A, B = (AdapterSource(name, Path(name)) for name in "ab")


def sequence(length: int = 6, score_from: int | None = None, caching: bool = True, **values: Any) -> Sequence:
    request = GenerationRequest(
        prompt_ids=tuple(range(length)), params=SamplingParams(max_tokens=4), stop_ids=frozenset(), **values
    )
    return Sequence(request, Scoring.__new__(Scoring), score_from=score_from, caching=caching)


def scored_positions(run: Sequence, chunks: list[int]) -> list[int]:
    """Positions whose logits were asked for, chunk by chunk."""
    found = []
    for count in chunks:
        wanted = run.wanted(count)
        assert all(0 <= at < count for at in wanted)
        found += [run.num_computed + at for at in wanted]
        run.num_computed += count
        if run.num_scored is not None:
            run.num_scored += len(wanted)
    return found


@pytest.mark.parametrize("chunks", [[6], [1] * 6, [2, 4], [5, 1], [3, 1, 2]])
@pytest.mark.parametrize("start", [1, 3, 5, 6])
def test_each_scored_token_is_predicted_once_at_any_chunking(start: int, chunks: list[int]) -> None:
    run = sequence(score_from=start)
    assert scored_positions(run, chunks) == list(range(start - 1, 5))
    # Of an answer's tokens none is scored.
    run.token_ids += [7, 8]
    assert scored_positions(run, [1, 1]) == []


def test_without_scoring_no_logits_are_asked_for() -> None:
    assert scored_positions(sequence(), [2, 3, 1]) == []


def test_a_preempted_sequence_scores_only_what_is_left() -> None:
    run = sequence(score_from=1)
    assert scored_positions(run, [3]) == [0, 1, 2]
    run.num_computed = 0
    assert run.max_cached == 3
    assert scored_positions(run, [2, 4]) == [3, 4]
    run.num_computed = 0
    assert scored_positions(run, [6]) == []


def test_what_is_still_to_be_predicted_is_never_taken_from_the_cache() -> None:
    assert sequence().max_cached == 5
    assert sequence(score_from=1).max_cached == 0
    assert sequence(score_from=4).max_cached == 3
    assert sequence(caching=False).max_cached == 0
    run = sequence()
    run.token_ids += [7, 8]
    assert run.max_cached == 7


def test_the_root_tells_tenants_digests_and_scales_apart_and_no_names() -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"tenant": "acme"},
        {"adapters": (AdapterUse(A),)},
        {"adapters": (AdapterUse(A, 0.5),)},
        {"adapters": (AdapterUse(B),)},
        {"adapters": (AdapterUse(A), AdapterUse(B))},
    ]
    assert len({sequence(**kind).root for kind in kinds}) == len(kinds)
    renamed = AdapterSource("a", Path("elsewhere"), name="other")
    assert sequence(adapters=(AdapterUse(renamed),)).root == sequence(adapters=(AdapterUse(A),)).root


def test_the_uses_are_the_slots_with_the_requests_scales() -> None:
    run = sequence(adapters=(AdapterUse(A, 0.5), AdapterUse(B)))
    run.leases = (Lease(A), Lease(B))
    run.leases[1].slot = Slot(8, 1, frozenset(), dora=False)
    with pytest.raises(AssertionError):
        _ = run.uses
    run = sequence(adapters=(AdapterUse(A, 0.5), AdapterUse(B)))
    run.leases = (Lease(A), Lease(B))
    for at, lease in enumerate(run.leases):
        lease.slot = Slot(8, at, frozenset(), dora=False)
    assert [(use.slot.index, use.scale) for use in run.uses] == [(0, 0.5), (1, 1.0)]


def test_time_runs_from_the_arrival() -> None:
    run = sequence(timeout_seconds=2.0)
    assert not run.overdue(run.arrival + 2)
    assert run.overdue(run.arrival + 2.1)
    assert not sequence().overdue(1e18)
