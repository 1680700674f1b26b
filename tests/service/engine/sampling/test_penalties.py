from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import RepetitionPenaltyLogitsProcessor

from service.engine.sampling.penalties import Penalties, SeenTokens, apply_penalties

SIZE = 50
TOKENS = st.lists(st.integers(0, SIZE - 1), max_size=200)


def random_logits(rows: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(rows, SIZE, generator=torch.Generator().manual_seed(seed)) * 4


def seen(prompt: list[int], answer: list[int], **strengths: float) -> SeenTokens:
    tokens = SeenTokens(Penalties(**strengths), prompt)
    for token_id in answer:
        tokens.add(token_id)
    return tokens


@given(prompt=TOKENS.filter(len), answer=TOKENS, penalty=st.floats(0.5, 2))
def test_repetition_is_that_of_transformers(prompt: list[int], answer: list[int], penalty: float) -> None:
    logits = random_logits(1)
    ids: Any = torch.tensor([prompt + answer])
    expected: Any = RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.clone())
    apply_penalties(logits, [(0, seen(prompt, answer, repetition=penalty))])
    torch.testing.assert_close(logits, expected)


@given(answer=TOKENS, presence=st.floats(-2, 2), frequency=st.floats(-2, 2))
def test_presence_and_frequency_are_those_of_openai(answer: list[int], presence: float, frequency: float) -> None:
    logits = random_logits(1)
    counts = torch.bincount(torch.tensor(answer, dtype=torch.long), minlength=SIZE)
    expected = logits - counts * frequency - (counts > 0) * presence
    # Prompt tokens must not count.
    apply_penalties(logits, [(0, seen([1, 2, 3], answer, presence=presence, frequency=frequency))])
    torch.testing.assert_close(logits, expected)


def test_repetition_comes_before_the_other_two() -> None:
    logits = torch.tensor([[4.0, -4.0, 1.0]])
    apply_penalties(logits, [(0, seen([1], [0, 0], repetition=2.0, presence=0.5, frequency=0.25))])
    assert logits.tolist() == [[4 / 2 - 2 * 0.25 - 0.5, -8.0, 1.0]]


def test_rows_are_apart() -> None:
    rows = [seen([1, 2], [3], repetition=1.5), seen([], [4, 4, 5], frequency=0.5), seen([9], [], repetition=3.0)]
    together = random_logits(4)
    untouched = together[1].clone()
    alone = [together[at : at + 1].clone() for at in (0, 2, 3)]
    apply_penalties(together, list(zip((0, 2, 3), rows, strict=True)))
    for logits, row in zip(alone, rows, strict=True):
        apply_penalties(logits, [(0, row)])
    assert torch.equal(together[[0, 2, 3]], torch.cat(alone))
    assert torch.equal(together[1], untouched)


def test_what_is_ruled_out_stays_so() -> None:
    logits = torch.tensor([[-torch.inf, 1.0]])
    apply_penalties(logits, [(0, seen([0], [0], repetition=0.5, presence=-2.0))])
    assert logits[0, 0] == -torch.inf


@pytest.mark.parametrize("num_tokens", [0, 63, 64, 65, 5000])
def test_any_number_of_distinct_tokens_is_counted(num_tokens: int) -> None:
    tokens = seen(list(range(num_tokens)), [*range(num_tokens), num_tokens, num_tokens], presence=1.0)
    assert tokens.token_ids_S.tolist() == list(range(num_tokens + 1))
    assert tokens.counts_S.tolist() == [1.0] * num_tokens + [2.0]
