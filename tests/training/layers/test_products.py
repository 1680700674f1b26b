import pytest
import torch

from training.layers import products
from training.layers.products import Product, create_product, onednn, plain


@pytest.mark.parametrize("product", [plain, onednn])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_a_product_is_the_sum_of_its_parts(product: Product, transposed: bool, bias: bool, added: bool) -> None:
    x, w = torch.randn(7, 5), torch.randn(6, 5)
    if transposed:
        x, w = torch.randn(5, 7).t(), torch.randn(5, 6).t()
    given = torch.randn(6) if bias else None
    other = torch.randn(7, 6) if added else None
    before = None if other is None else other.clone()
    expected = x.double() @ w.double().t()
    expected = expected if given is None else expected + given
    expected = expected if other is None else expected + other
    torch.testing.assert_close(product(x, w, given, other).double(), expected, rtol=1e-5, atol=1e-5)
    assert other is None or before is None or torch.equal(other, before)


def test_a_slice_of_columns_can_be_multiplied() -> None:
    x, w = torch.randn(7, 12), torch.randn(6, 4)
    product = create_product(torch.device("cpu"), torch.float32)
    torch.testing.assert_close(product(x[:, 4:8], w), x[:, 4:8] @ w.t(), rtol=1e-5, atol=1e-5)


def test_only_float32_on_the_cpu_leaves_a_choice() -> None:
    assert create_product(torch.device("cpu"), torch.bfloat16) is plain
    assert create_product(torch.device("cpu"), torch.float64) is plain
    assert create_product(torch.device("cuda"), torch.float32) is plain
    chosen = create_product(torch.device("cpu"), torch.float32)
    assert create_product(torch.device("cpu"), torch.float32) is chosen


def test_the_choice_leaves_the_number_of_threads_and_does_not_depend_on_it() -> None:
    before = torch.get_num_threads()
    chosen = set()
    for num_threads in (1, 2, 2):
        products._fastest.cache_clear()
        torch.set_num_threads(num_threads)
        try:
            chosen.add(create_product(torch.device("cpu"), torch.float32))
            assert torch.get_num_threads() == num_threads
        finally:
            torch.set_num_threads(before)
    assert len(chosen) == 1
