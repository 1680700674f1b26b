import os
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from service.engine.model.triton_attention import paged_decode

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not INTERPRETED and not torch.cuda.is_available(), reason="runs on CUDA, or interpreted in a process of its own"
    ),
]

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
LENGTHS = (0, 1, 16, 17, 150)


@dataclass(frozen=True)
class Case:
    q_BHD: Tensor
    cache_S2KD: Tensor
    tables_BP: Tensor
    lengths_B: Tensor
    page_tokens: int

    @property
    def scale(self) -> float:
        return float(self.q_BHD.shape[2] ** -0.5)

    def run(self, window: int | None = None) -> Tensor:
        return paged_decode(
            self.q_BHD, self.cache_S2KD, self.tables_BP, self.lengths_B, self.scale, self.page_tokens, window
        )


def random_case(
    lengths: Sequence[int] = LENGTHS,
    *,
    heads: tuple[int, int] = (4, 2),
    head_dim: int = 32,
    dtype: torch.dtype = torch.float32,
    page_tokens: int = 16,
    spare_pages: int = 2,
) -> Case:
    counts = [-(-length // page_tokens) for length in lengths]
    num_pages = sum(counts) + 3
    shuffled = torch.randperm(num_pages).tolist()
    # What no row sees is not a number, and what a table holds beyond its row is no page at all.
    cache_S2KD = torch.full((num_pages * page_tokens, 2, heads[1], head_dim), torch.nan)
    tables_BP = torch.full((len(lengths), max(counts) + spare_pages), 1 << 30, dtype=torch.int32)
    for row, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        pages = [shuffled.pop() for _ in range(count)]
        tables_BP[row, :count] = torch.tensor(pages, dtype=torch.int32)
        slots = [pages[at // page_tokens] * page_tokens + at % page_tokens for at in range(length)]
        cache_S2KD[slots] = torch.randn(length, 2, heads[1], head_dim)
    q_BHD = torch.randn(len(lengths), heads[0], head_dim)
    return Case(
        q_BHD.to(DEVICE, dtype),
        cache_S2KD.to(DEVICE, dtype),
        tables_BP.to(DEVICE),
        torch.tensor(lengths, dtype=torch.int32, device=DEVICE),
        page_tokens,
    )


def reference(case: Case, window: int | None = None) -> Tensor:
    out_BHD = torch.zeros(case.q_BHD.shape, dtype=torch.float64, device=DEVICE)
    group = case.q_BHD.shape[1] // case.cache_S2KD.shape[2]
    for row, length in enumerate(case.lengths_B.tolist()):
        first = 0 if window is None else max(0, length - window)
        pages = case.tables_BP[row].tolist()
        size = case.page_tokens
        slots = [pages[at // size] * size + at % size for at in range(first, length)]
        k_LHD, v_LHD = case.cache_S2KD[slots].double().repeat_interleave(group, dim=2).unbind(1)
        scores_HL = torch.einsum("hd,lhd->hl", case.q_BHD[row].double(), k_LHD) * case.scale
        out_BHD[row] = torch.einsum("hl,lhd->hd", scores_HL.softmax(dim=1), v_LHD)
    return out_BHD


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected, rtol=TOLERANCE[found.dtype], atol=TOLERANCE[found.dtype])


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(6)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("head_dim", [16, 64, 80, 96, 128, 256])
def test_each_row_attends_to_its_own_tokens(head_dim: int, dtype: torch.dtype) -> None:
    case = random_case(head_dim=head_dim, dtype=dtype)
    found = case.run()
    assert found.dtype == dtype
    assert_close(found, reference(case))


@pytest.mark.parametrize("heads", [(1, 1), (3, 3), (9, 3), (16, 1), (17, 1)])
def test_query_heads_share_key_value_heads(heads: tuple[int, int]) -> None:
    case = random_case((5, 40), heads=heads)
    assert_close(case.run(), reference(case))


@pytest.mark.parametrize("window", [1, 7, 16, 130, 149, 150, 5000])
def test_a_window_hides_all_but_the_last_tokens(window: int) -> None:
    case = random_case()
    assert_close(case.run(window), reference(case, window))


@pytest.mark.parametrize("page_tokens", [1, 8, 12, 64])
def test_any_page_size_will_do(page_tokens: int) -> None:
    case = random_case((0, 1, 11, 12, 13, 90), page_tokens=page_tokens)
    assert_close(case.run(), reference(case))


@pytest.mark.parametrize("window", [None, 1500])
def test_a_long_sequence_beside_short_ones_is_joined_from_its_parts(window: int | None) -> None:
    case = random_case((3, 2061, 129), heads=(2, 1), head_dim=16)
    assert_close(case.run(window), reference(case, window))


def test_rows_without_tokens_are_zero() -> None:
    case = random_case((0, 0), spare_pages=20)
    assert torch.equal(case.run(), torch.zeros_like(case.q_BHD))


def test_no_rows_give_no_rows() -> None:
    case = random_case((3,))
    none = Case(case.q_BHD[:0], case.cache_S2KD, case.tables_BP[:0], case.lengths_B[:0], case.page_tokens)
    assert none.run().shape == (0, *case.q_BHD.shape[1:])


def test_queries_and_tables_may_be_views_and_ids_wider() -> None:
    case = random_case()
    wide_BHD = torch.cat([case.q_BHD, case.q_BHD, case.q_BHD], dim=1)[:, 4:8]
    tables_BP = torch.cat([case.tables_BP, case.tables_BP], dim=1).long()[:, : case.tables_BP.shape[1]]
    views = Case(wide_BHD, case.cache_S2KD, tables_BP, case.lengths_B.long(), case.page_tokens)
    assert torch.equal(views.run(), case.run())


def test_a_rows_bits_do_not_depend_on_its_neighbours_lengths() -> None:
    case = random_case((300, 200, 100))
    shorter_B = torch.tensor([300, 1, 0], dtype=torch.int32, device=DEVICE)
    shorter = Case(case.q_BHD, case.cache_S2KD, case.tables_BP, shorter_B, case.page_tokens)
    assert torch.equal(shorter.run()[0], case.run()[0])


def test_equal_calls_give_equal_bits() -> None:
    case = random_case((700, 3), head_dim=16)
    first = case.run()
    assert torch.equal(case.run(), first)
    assert torch.equal(case.run(), first)


def test_large_scores_do_not_overflow() -> None:
    case = random_case((40, 200), head_dim=16)
    loud = Case(case.q_BHD * 1e4, case.cache_S2KD, case.tables_BP, case.lengths_B, case.page_tokens)
    assert_close(loud.run(), reference(loud))


def test_a_cuda_graph_follows_lengths_and_tables() -> None:
    case = random_case((300, 200, 100), head_dim=64, dtype=torch.bfloat16)
    case.run()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out_BHD = case.run()
    for lengths in ([300, 200, 100], [1, 0, 99], [17, 16, 15]):
        case.lengths_B.copy_(torch.tensor(lengths))
        case.q_BHD.copy_(torch.randn(case.q_BHD.shape))
        graph.replay()
        assert_close(out_BHD, reference(case))
    case.lengths_B.fill_(20)
    case.tables_BP.copy_(case.tables_BP.roll(1, dims=0))
    graph.replay()
    assert_close(out_BHD, reference(case))
