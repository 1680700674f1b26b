import math

import pytest
import torch

from service.engine.sampling import logprobs as module
from service.engine.sampling.logprobs import logprobs

LOGITS = torch.randn(7, 30, generator=torch.Generator().manual_seed(4)) * 3
TOKENS = [0, 29, 3, 7, 7, 11, 20]


@pytest.mark.parametrize("chunk_bytes", [1, 3 * 30 * 8, 1 << 30])
def test_they_are_those_of_log_softmax(chunk_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", chunk_bytes)
    expected = LOGITS.log_softmax(-1)
    found = logprobs(LOGITS, TOKENS, 4)
    assert [each.token_id for each in found] == TOKENS
    assert [each.logprob for each in found] == pytest.approx(expected[range(7), TOKENS].tolist(), abs=1e-5)
    for each, row in zip(found, expected, strict=True):
        values, ids = row.topk(4)
        assert [token_id for token_id, _ in each.top] == ids.tolist()
        assert [value for _, value in each.top] == pytest.approx(values.tolist(), abs=1e-5)


def test_no_likeliest_tokens_where_none_are_asked_for() -> None:
    assert all(each.top == () for each in logprobs(LOGITS, TOKENS, 0))


def test_more_likeliest_tokens_than_there_are_gives_all() -> None:
    assert len(logprobs(LOGITS, torch.tensor(TOKENS), 99)[0].top) == 30


def test_a_token_that_cannot_be_has_minus_infinity() -> None:
    assert logprobs(torch.tensor([[0.0, -math.inf]]), [1], 0)[0].logprob == -math.inf


def test_half_precision_is_widened_first() -> None:
    half = LOGITS.bfloat16()
    assert logprobs(half, TOKENS, 2) == logprobs(half.float(), TOKENS, 2)


def test_no_tokens_give_nothing() -> None:
    assert logprobs(LOGITS[:0], [], 3) == []
