from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.model.batch import Span, StepBatch, token_slots

CPU = torch.device("cpu")
PAGES = 40


@st.composite
def steps(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Spans with pages of their own, in any order, perhaps more than they need; single tokens first."""
    page_tokens = draw(st.sampled_from([1, 2, 4, 16]))
    free = draw(st.permutations(range(PAGES)))
    spans = []
    counts = draw(st.lists(st.just(1), max_size=5)) + draw(st.lists(st.integers(2, 9), max_size=3))
    for row, count in enumerate(counts):
        start = draw(st.integers(0, 4 * page_tokens - count if count < 4 * page_tokens else 0))
        needed = -(-(start + count) // page_tokens)
        spare = draw(st.integers(0, 1))
        if needed + spare > len(free):
            break
        pages, free = free[: needed + spare], free[needed + spare :]
        spans.append(Span([100 * row + at for at in range(count)], start, pages))
    return spans, page_tokens


def slot(span: Span, position: int, page_tokens: int) -> int:
    return span.pages[position // page_tokens] * page_tokens + position % page_tokens


def seen(span: Span, position: int, window: int | None, page_tokens: int) -> list[int]:
    """Slots of all that the token at a position sees."""
    first = 0 if window is None else max(0, position + 1 - window)
    return sorted(slot(span, at, page_tokens) for at in range(first, position + 1))


windows = st.none() | st.integers(1, 40)
non_empty = steps().filter(lambda step: bool(step[0]))


@given(non_empty)
def test_tokens_lie_end_to_end_with_their_positions_and_slots(step: tuple[list[Span], int]) -> None:
    spans, page_tokens = step
    batch = StepBatch(spans, page_tokens, CPU)
    flat = [(span, at) for span in spans for at in range(len(span.token_ids))]
    assert len(batch) == len(flat)
    assert batch.ids_T.tolist() == [span.token_ids[at] for span, at in flat]
    assert batch.positions_T.tolist() == [span.start + at for span, at in flat]
    assert batch.slots_T.tolist() == [slot(span, span.start + at, page_tokens) for span, at in flat]
    assert len(set(batch.slots_T.tolist())) == len(flat)


@settings(max_examples=200)
@given(step=steps().filter(lambda step: any(len(span.token_ids) == 1 for span in step[0])), window=windows)
def test_a_single_token_sees_what_stands_before_it_in_its_window(
    step: tuple[list[Span], int], window: int | None
) -> None:
    spans, page_tokens = step
    batch = StepBatch(spans, page_tokens, CPU)
    single = [span for span in spans if len(span.token_ids) == 1]
    view = batch.decode_view(window, torch.float32)
    assert batch.num_decode == len(view.tables_BP) == len(single)
    assert view.mask_B11L.shape == (len(single), 1, 1, view.tables_BP.shape[1] * page_tokens)
    for row, span in enumerate(single):
        table, mask = view.tables_BP[row].tolist(), view.mask_B11L[row, 0, 0].tolist()
        assert set(mask) <= {0.0, -torch.inf}
        visible = [
            table[at // page_tokens] * page_tokens + at % page_tokens for at, each in enumerate(mask) if not each
        ]
        assert sorted(visible) == seen(span, span.start, window, page_tokens)
        # A masked score of another's page could still be NaN.
        assert set(table) <= set(span.pages)


@settings(max_examples=200)
@given(step=steps().filter(lambda step: any(len(span.token_ids) > 1 for span in step[0])), window=windows)
def test_a_longer_span_sees_what_stands_before_each_token(step: tuple[list[Span], int], window: int | None) -> None:
    spans, page_tokens = step
    batch = StepBatch(spans, page_tokens, CPU)
    longer = [span for span in spans if len(span.token_ids) > 1]
    row = batch.num_decode
    assert len(batch.prefills) == len(longer)
    for prefill, span in zip(batch.prefills, longer, strict=True):
        assert prefill.rows == slice(row, row + len(span.token_ids))
        row += len(span.token_ids)
        slots = prefill.slots_C.tolist()
        assert slots == [slot(span, at, page_tokens) for at in range(span.end)]
        mask = prefill.mask_NC(window, torch.float32)
        if mask is None:
            assert span.start == 0
            mask = torch.zeros(span.end, span.end).masked_fill(torch.ones(span.end, span.end).triu(1) > 0, -torch.inf)
        for at, line in enumerate(mask.tolist()):
            assert set(line) <= {0.0, -torch.inf}
            visible = sorted(slots[key] for key, each in enumerate(line) if not each)
            assert visible == seen(span, span.start + at, window, page_tokens)


@pytest.mark.parametrize(
    ("start", "window", "masked"), [(0, None, False), (0, 6, False), (0, 5, True), (1, None, True)]
)
def test_a_whole_prompt_inside_the_window_needs_no_mask(start: int, window: int | None, masked: bool) -> None:
    prefill = StepBatch([Span(range(6), start, [0, 1])], 4, CPU).prefills[0]
    assert (prefill.mask_NC(window, torch.float32) is not None) == masked


def test_a_window_leaves_out_the_pages_before_it() -> None:
    batch = StepBatch([Span([1], 30, range(10, 18)), Span([1], 5, [3, 4])], 4, CPU)
    assert batch.decode_view(6, torch.float32).tables_BP.tolist() == [[16, 17], [3, 4]]
    assert batch.decode_view(None, torch.float32).tables_BP.shape == (2, 8)


def test_views_and_masks_are_made_once_a_step() -> None:
    batch = StepBatch([Span([1], 3, [0]), Span([1, 2], 2, [1])], 4, CPU)
    assert batch.decode_view(2, torch.float32) is batch.decode_view(2, torch.float32)
    assert batch.decode_view(None, torch.float32) is batch.decode_view(4, torch.float32)
    prefill = batch.prefills[0]
    assert prefill.mask_NC(2, torch.float32) is prefill.mask_NC(2, torch.float32)
    assert prefill.slots_C is prefill.slots_C


def test_single_tokens_come_first() -> None:
    with pytest.raises(AssertionError):
        StepBatch([Span([1, 2], 0, [0]), Span([1], 0, [1])], 4, CPU)


@pytest.mark.parametrize(("start", "end", "expected"), [(0, 0, []), (0, 3, [14, 15, 2]), (1, 4, [15, 2, 3])])
def test_slots_follow_the_pages(start: int, end: int, expected: Sequence[int]) -> None:
    assert token_slots([7, 1], start, end, 2) == expected
