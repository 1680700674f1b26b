from hypothesis import given
from hypothesis import strategies as st

from training.optimization.learning_rate import learning_rate_factor


@given(st.integers(1, 200), st.floats(0, 1))
def test_the_learning_rate_rises_then_falls_and_is_never_zero(total_steps: int, warmup_ratio: float) -> None:
    factors = [learning_rate_factor(step, total_steps, warmup_ratio) for step in range(total_steps)]
    peak = factors.index(max(factors))
    assert max(factors) == 1.0
    assert all(factor > 0 for factor in factors)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
