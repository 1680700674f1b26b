from dataclasses import replace

import pytest

from service.preflight.auto import AutoChoice, AutoFacts, batch_size, choose, decide, learning_rate
from training.config import AskedConfig, TrainingConfig

GIB = 1 << 30


def facts(num_rows: int = 10_000, free: float = 64, fixed: float = 1, each: float = 0.5) -> AutoFacts:
    return AutoFacts(
        model_type="llama",
        hidden_size=4096,
        num_rows=num_rows,
        peak_bytes=lambda size: int((fixed + each * size) * GIB),
        free_bytes=int(free * GIB),
    )


@pytest.mark.parametrize(
    ("model_type", "hidden_size", "value"),
    [("llama", 2000, 5e-4), ("llama", 4096, 2.9e-4), ("llama", 576, 1.3e-3), ("qwen3", 4096, 4.7e-4)],
)
def test_the_learning_rate_follows_the_published_law(model_type: str, hidden_size: int, value: float) -> None:
    choice = learning_rate(model_type, hidden_size)
    assert choice.value == value
    assert f"/ {hidden_size})" in choice.reason


def test_a_family_without_a_law_takes_the_cautious_one_and_says_so() -> None:
    choice = learning_rate("gemma3_text", 640)
    assert choice.value == learning_rate("qwen3", 640).value
    assert "none is published for gemma3_text" in choice.reason


def test_a_large_set_with_room_takes_the_largest_useful_batch() -> None:
    assert batch_size(facts()).value == 16


@pytest.mark.parametrize(("num_rows", "value"), [(1, 1), (33, 1), (64, 2), (300, 8), (511, 8), (512, 16)])
def test_a_small_set_keeps_enough_steps(num_rows: int, value: int) -> None:
    choice = batch_size(facts(num_rows))
    assert choice.value == value
    assert value == 16 or "too few steps" in choice.reason


def test_the_batch_shrinks_to_what_fits_and_the_reason_has_the_figures() -> None:
    choice = batch_size(facts(free=4))  # 0.9 * 4 GiB holds 1 + 0.5 * 4.
    assert choice.value == 4
    assert choice.reason == "16 would need 9.0 GiB; this needs 3.0 of 4.0 GiB free"


def test_nothing_fits_and_one_row_is_left() -> None:
    assert batch_size(facts(free=0.5)).value == 1


def test_both_are_chosen_together() -> None:
    assert [choice.name for choice in choose(facts())] == ["learning_rate", "batch_size"]
    assert all(isinstance(choice, AutoChoice) and choice.reason for choice in choose(facts()))


def test_accumulated_batches_count_together() -> None:
    assert batch_size(replace(facts(), accumulation=4)).value == 4
    assert batch_size(replace(facts(num_rows=256), accumulation=4)).value == 2
    assert batch_size(replace(facts(), accumulation=64)).value == 1


def test_only_what_was_left_open_is_decided() -> None:
    choices = choose(facts())
    asked = AskedConfig(learning_rate="auto", batch_size=3)
    assert decide(asked, choices) == TrainingConfig(learning_rate=choices[0].value, batch_size=3)
    assert decide(AskedConfig(batch_size="auto"), choices).batch_size == 16
    assert decide(AskedConfig(rank=3), ()) == TrainingConfig(rank=3)
    with pytest.raises(KeyError):
        decide(asked, ())
