import torch
from hypothesis import given
from hypothesis import strategies as st

from service.engine.model.batch import Span, StepBatch
from service.engine.model.static_step import StaticInputs

CPU = torch.device("cpu")
PAGE_TOKENS, SCRATCH, MAX_ROWS, MAX_PAGES = 4, 99, 6, 5


def inputs() -> StaticInputs:
    return StaticInputs(MAX_ROWS, MAX_PAGES, PAGE_TOKENS, SCRATCH, CPU)


spans = st.tuples(
    st.integers(0, 300),
    st.integers(0, MAX_PAGES * PAGE_TOKENS - 1),
    st.lists(st.integers(0, 98), min_size=MAX_PAGES, max_size=MAX_PAGES + 2),
).map(lambda parts: Span([parts[0]], parts[1], parts[2]))


@given(steps=st.lists(st.lists(spans, min_size=1, max_size=MAX_ROWS), min_size=1, max_size=5), spare=st.integers(0, 5))
def test_any_steps_one_after_the_other_look_as_if_made_afresh(steps: list[list[Span]], spare: int) -> None:
    fixed = inputs()
    for step in steps:
        num_rows, made = min(MAX_ROWS, len(step) + spare), StepBatch(step, PAGE_TOKENS, CPU)
        assert fixed.holds(step)
        fixed.fill(step, num_rows)
        found = fixed.step(num_rows)
        assert (found.num_decode, found.prefills) == (num_rows, ())
        for name in ("ids_T", "positions_T", "slots_T"):
            assert torch.equal(getattr(found, name)[: len(step)], getattr(made, name)), name
        assert torch.equal(found.decode_tables.lengths_B[: len(step)], made.decode_tables.lengths_B)
        for row, length in enumerate(made.decode_tables.lengths_B.tolist()):
            pages = -(-length // PAGE_TOKENS)
            assert found.decode_tables.tables_BP[row, :pages].tolist() == list(step[row].pages[:pages])


def test_rows_without_a_sequence_see_nothing_and_write_where_nobody_reads() -> None:
    fixed = inputs()
    fixed.fill([Span([7], 3, [1]) for _ in range(MAX_ROWS)], MAX_ROWS)
    fixed.fill([Span([7], 3, [1])], 4)
    step = fixed.step(4)
    assert step.decode_tables.lengths_B.tolist() == [4, 0, 0, 0]
    assert step.slots_T.tolist() == [7, *[SCRATCH * PAGE_TOKENS] * 3]
    assert step.ids_T.tolist() == [7, 0, 0, 0]


def test_addresses_never_change() -> None:
    fixed = inputs()
    fixed.fill([Span([7], 3, [1])], 2)
    before = fixed.step(2)
    fixed.fill([Span([8], 9, [4, 3, 2])], 2)
    after = fixed.step(2)
    assert before.ids_T.data_ptr() == after.ids_T.data_ptr()
    assert before.decode_tables.tables_BP.data_ptr() == after.decode_tables.tables_BP.data_ptr()
    assert before.ids_T.tolist() == [8, 0]
    assert before.decode_tables.tables_BP[0, :3].tolist() == [4, 3, 2]


def test_longer_spans_too_many_of_them_and_too_long_sequences_do_not_fit() -> None:
    one = Span([7], MAX_PAGES * PAGE_TOKENS - 1, range(9))
    assert inputs().holds([one] * MAX_ROWS)
    assert not inputs().holds([one] * (MAX_ROWS + 1))
    assert not inputs().holds([one, Span([7, 8], 3, [1, 2])])
    assert not inputs().holds([one, Span([7], MAX_PAGES * PAGE_TOKENS, range(9))])
