import pytest

from service.engine.scheduling.pace import Pace


def learnt(decode_seconds: float = 0.010, token_seconds: float = 0.001) -> Pace:
    pace = Pace()
    pace.record(8, 0, decode_seconds)
    pace.record(8, 100, decode_seconds + 100 * token_seconds)
    return pace


def test_nothing_is_held_back_before_anything_is_known() -> None:
    pace = Pace()
    assert pace.prefill_tokens(4, 1, 512) == 512
    pace.record(4, 0, 0.01)
    assert pace.prefill_tokens(4, 1, 512) == 512


def test_nothing_is_held_back_while_nobody_decodes() -> None:
    assert learnt().prefill_tokens(0, 5, 512) == 512


def test_a_running_answer_bears_half_as_much_again() -> None:
    assert learnt().prefill_tokens(8, 1, 512) == pytest.approx(15, abs=1)


def test_more_is_borne_where_many_wait_for_few() -> None:
    assert learnt().prefill_tokens(2, 20, 512) == pytest.approx(150, abs=2)


@pytest.mark.parametrize("most", [1, 7, 512])
def test_a_little_goes_on_always_and_never_more_than_the_bound(most: int) -> None:
    assert learnt(token_seconds=1.0).prefill_tokens(8, 1, most) == min(16, most)
    assert learnt(token_seconds=1e-9).prefill_tokens(8, 1, most) == most


def test_newer_steps_count_more() -> None:
    pace = learnt()
    for _ in range(30):
        pace.record(8, 0, 0.1)
        pace.record(8, 100, 0.2)
    assert pace.prefill_tokens(8, 1, 1000) == pytest.approx(150, rel=0.05)


def test_a_step_that_was_faster_than_expected_gives_no_negative_price() -> None:
    pace = Pace()
    pace.record(8, 0, 0.1)
    pace.record(8, 64, 0.05)
    assert 16 <= pace.prefill_tokens(8, 1, 4096) <= 4096


def test_short_prompts_do_not_set_the_price_of_a_token() -> None:
    pace = learnt()
    before = pace.prefill_tokens(8, 1, 512)
    for _ in range(20):
        pace.record(0, 3, 0.05)
    assert pace.prefill_tokens(8, 1, 512) == before
