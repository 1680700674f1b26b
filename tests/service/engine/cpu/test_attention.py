from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from service.engine.cpu.attention import paged_decode

SCALE = 0.2


def random_cache(lengths: Sequence[int], page_tokens: int, num_kv: int, dim: int) -> tuple[Tensor, Tensor]:
    counts = [-(-length // page_tokens) for length in lengths]
    free = torch.randperm(sum(counts) + 3).tolist()
    # What no row sees is not a number, and what a table holds beyond its row is no page at all.
    cache_S2KD = torch.full((len(free) * page_tokens, 2, num_kv, dim), torch.nan)
    tables_BP = torch.full((len(lengths), max(counts) + 2), 1 << 30, dtype=torch.int32)
    for row, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        pages = [free.pop() for _ in range(count)]
        tables_BP[row, :count] = torch.tensor(pages, dtype=torch.int32)
        slots = [pages[at // page_tokens] * page_tokens + at % page_tokens for at in range(length)]
        cache_S2KD[slots] = torch.randn(length, 2, num_kv, dim)
    return cache_S2KD, tables_BP


def naive(q_HD: Tensor, kv_L2KD: Tensor) -> Tensor:
    k_LHD, v_LHD = kv_L2KD.double().repeat_interleave(len(q_HD) // kv_L2KD.shape[2], dim=2).unbind(1)
    scores_HL = torch.einsum("hd,lhd->hl", q_HD.double(), k_LHD) * SCALE
    return torch.einsum("hl,lhd->hd", scores_HL.softmax(dim=-1), v_LHD).float()


@pytest.mark.parametrize("window", [None, 1, 7, 16, 400])
@pytest.mark.parametrize(("num_heads", "num_kv", "dim"), [(9, 3, 64), (4, 4, 16), (6, 1, 10)])
def test_each_token_sees_its_sequence_and_nothing_else(
    num_heads: int, num_kv: int, dim: int, window: int | None
) -> None:
    lengths, page_tokens = (1, 15, 16, 17, 150, 3), 16
    cache_S2KD, tables_BP = random_cache(lengths, page_tokens, num_kv, dim)
    # A part of each row, as queries lie beside keys and values; loud ones reach the ends of the exponential.
    q_BHD = (torch.randn(len(lengths), num_heads + 2, dim) * torch.logspace(-2, 2.5, len(lengths))[:, None, None])[
        :, :num_heads
    ]
    out_BHD = paged_decode(q_BHD, cache_S2KD, tables_BP, torch.tensor(lengths), SCALE, page_tokens, window)
    for row, length in enumerate(lengths):
        seen = range(0 if window is None else max(0, length - window), length)
        slots = [int(tables_BP[row, at // page_tokens]) * page_tokens + at % page_tokens for at in seen]
        torch.testing.assert_close(out_BHD[row], naive(q_BHD[row], cache_S2KD[slots]), rtol=1e-4, atol=1e-4)


def test_a_row_without_tokens_gives_zeros() -> None:
    cache_S2KD, tables_BP = random_cache((0, 5), 16, 2, 8)
    out_BHD = paged_decode(torch.randn(2, 4, 8), cache_S2KD, tables_BP, torch.tensor([0, 5]), SCALE, 16)
    assert (out_BHD[0] == 0).all()
    assert (out_BHD[1] != 0).all()


def test_a_row_is_the_same_to_the_bit_whatever_stands_beside_it() -> None:
    lengths = (40, 3, 90)
    cache_S2KD, tables_BP = random_cache(lengths, 16, 2, 8)
    q_BHD = torch.randn(3, 4, 8)
    together = paged_decode(q_BHD, cache_S2KD, tables_BP, torch.tensor(lengths), SCALE, 16)
    for row, length in enumerate(lengths):
        one = slice(row, row + 1)
        alone = paged_decode(q_BHD[one], cache_S2KD, tables_BP[one], torch.tensor([length]), SCALE, 16)
        assert torch.equal(alone[0], together[row])


def test_what_is_no_number_in_a_sequence_shows_in_its_row_alone() -> None:
    cache_S2KD, tables_BP = random_cache((20, 20), 16, 2, 8)
    cache_S2KD[int(tables_BP[1, 0]) * 16 + 3, 0] = torch.nan
    out_BHD = paged_decode(torch.randn(2, 4, 8), cache_S2KD, tables_BP, torch.tensor([20, 20]), SCALE, 16)
    assert out_BHD[0].isfinite().all()
    assert out_BHD[1].isnan().all()
