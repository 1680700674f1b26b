from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from base.dense import dense_weight
from base.int8 import Int8Linear
from service.engine.cpu import int8_tiles
from service.engine.model.products import (
    DenseProduct,
    Int8Product,
    PackedProduct,
    Product,
    SeparateProduct,
    TiledInt8Product,
    create_product,
)

IN = 24
KINDS: dict[str, Callable[[Sequence[Any]], Product]] = {
    "separate": SeparateProduct,
    "dense": DenseProduct,
    "packed": PackedProduct,
    "int8": lambda parts: Int8Product([Int8Linear(part) for part in parts]),
    "int8 and plain": lambda parts: SeparateProduct([Int8Linear(parts[0]), *parts[1:]]),
}
if int8_tiles.available():
    KINDS["tiled int8"] = lambda parts: TiledInt8Product([Int8Linear(part) for part in parts])
EXACT = ("separate", "dense", "packed")


def linears(*sizes: int, bias: tuple[int, ...] = ()) -> list[nn.Linear]:
    torch.manual_seed(sum(sizes))
    made = [nn.Linear(IN, size, bias=at in bias) for at, size in enumerate(sizes)]
    return [linear.requires_grad_(requires_grad=False) for linear in made]


def expected(parts: Sequence[nn.Linear], x_TI: Tensor) -> Tensor:
    return torch.cat([part(x_TI) for part in parts], dim=-1)


@pytest.mark.parametrize("bias", [(), (0,), (1,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("sizes", [(20,), (16, 16), (24, 8, 8), (5, 3)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_parts_give_their_outputs_side_by_side(kind: str, sizes: tuple[int, ...], bias: tuple[int, ...]) -> None:
    parts = linears(*sizes, bias=tuple(at for at in bias if at < len(sizes)))
    product = KINDS[kind](parts)
    tolerance = 1e-5 if kind in EXACT else 0.05
    for num_tokens in (1, 2, 15, 16, 17, 70):
        x_TI = torch.randn(num_tokens, IN)
        torch.testing.assert_close(product(x_TI), expected(parts, x_TI), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_the_dense_weight_is_that_of_all_parts(kind: str) -> None:
    parts = linears(24, 8, 8)
    dense = KINDS[kind](parts).dense()
    assert dense.dtype == torch.float32
    weight_OI = torch.cat([part.weight for part in parts])
    if kind in EXACT:
        assert torch.equal(dense, weight_OI)
    else:
        torch.testing.assert_close(dense, weight_OI, rtol=0, atol=float(weight_OI.abs().max()) / 127)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bias_is_known_whatever_parts_have_one(kind: str) -> None:
    parts = linears(4, 3, 2, bias=(1,))
    bias_O = KINDS[kind](parts).bias_O
    assert bias_O is not None
    assert torch.equal(bias_O, torch.cat([torch.zeros(4), parts[1].bias, torch.zeros(2)]))
    assert KINDS[kind](linears(4, 3)).bias_O is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(20,), (16, 16)], ids=str)
def test_a_result_may_be_changed_without_harm_to_the_next(kind: str, sizes: tuple[int, ...]) -> None:
    product = KINDS[kind](linears(*sizes, bias=(0,)))
    x_TI = torch.randn(3, IN)
    first = product(x_TI)
    kept = first.clone()
    first.fill_(7)
    assert torch.equal(product(x_TI), kept)
    dense = product.dense().clone()
    assert torch.equal(product.dense(), dense)


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_may_be_views_and_may_be_none_at_all(kind: str) -> None:
    parts = linears(16, 8, bias=(0,))
    product = KINDS[kind](parts)
    for x_TI in (torch.randn(20, 2 * IN)[:, IN:], torch.randn(20, 2 * IN)[:, ::2], torch.randn(IN, 20).t()):
        torch.testing.assert_close(product(x_TI), product(x_TI.contiguous()))
    assert product(torch.randn(0, IN)).shape == (0, 24)


def test_a_dense_product_keeps_low_precision() -> None:
    parts = [part.to(torch.bfloat16) for part in linears(16, 16)]
    product = create_product(parts, packed=False)
    x_TI = torch.randn(4, IN, dtype=torch.bfloat16)
    assert product(x_TI).dtype == torch.bfloat16
    torch.testing.assert_close(product(x_TI), expected(parts, x_TI))
    assert product.dense().dtype == torch.float32


def test_the_product_follows_what_the_parts_are() -> None:
    plain, single = linears(8, 8), linears(8)
    int8 = [Int8Linear(part) for part in plain]
    low = [part.to(torch.bfloat16) for part in linears(8, 8)]
    assert isinstance(create_product(plain, packed=True), PackedProduct)
    assert isinstance(create_product(plain, packed=False), DenseProduct)
    assert isinstance(create_product(single, packed=False), SeparateProduct)
    assert isinstance(create_product(low, packed=True), DenseProduct)
    assert isinstance(create_product(int8, packed=False), Int8Product)
    assert isinstance(create_product(int8, packed=True), TiledInt8Product if int8_tiles.available() else Int8Product)
    assert isinstance(create_product([int8[0], plain[1]], packed=True), SeparateProduct)


def test_a_4_bit_layer_is_kept_as_it_is() -> None:
    from bitsandbytes.nn.modules import Linear4bit, Params4bit

    parts = []
    for source in linears(32, 32):
        part = Linear4bit(IN, 32, bias=False, quant_type="nf4", compute_dtype=torch.float32)
        part.weight = Params4bit(source.weight.data, requires_grad=False, quant_type="nf4")
        part.support_avx512bf16_for_cpu = False
        parts.append(part.to("cpu"))
    product = create_product(parts, packed=True)
    assert isinstance(product, SeparateProduct)
    x_TI = torch.randn(3, IN)
    found = product(x_TI)
    assert torch.equal(product.dense(), torch.cat([dense_weight(part) for part in parts]))
    torch.testing.assert_close(found, functional.linear(x_TI, product.dense()), rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not int8_tiles.available(), reason="this processor does not multiply int8 numbers")
@pytest.mark.parametrize(("num_in", "num_out"), [(576, 960), (30, 53), (4, 48), (1, 1)])
def test_tiles_give_the_very_numbers_of_the_plain_product(num_in: int, num_out: int) -> None:
    part = Int8Linear(nn.Linear(num_in, num_out), torch.rand(num_in) + 0.5)
    for num_tokens in (0, 1, 7, 8, 9, 33, 70):
        x_TI = torch.randn(num_tokens, num_in) * torch.logspace(-30, 5, num_tokens)[:, None]
        x_TI[: num_tokens // 7] = 0
        assert torch.equal(TiledInt8Product([part])(x_TI), Int8Product([part])(x_TI))


@pytest.mark.parametrize("kind", ["int8", "tiled int8"])
def test_int8_rows_are_bit_equal_whatever_stands_beside_them(kind: str) -> None:
    if kind not in KINDS:
        pytest.skip("this processor does not multiply int8 numbers")
    product = KINDS[kind](linears(24, 8, 8, bias=(0, 2)))
    quiet, loud = torch.randn(6, IN), torch.randn(9, IN) * 1e5
    broken = torch.full((2, IN), torch.nan)
    broken[1] = torch.inf
    found = product(torch.cat([loud, quiet, broken]))
    assert torch.equal(found[9:15], torch.cat([product(row[None]) for row in quiet]))
    assert not torch.isfinite(found[15:]).any()


def test_int8_rows_without_magnitude_give_the_bias() -> None:
    parts = linears(8, 8, bias=(0,))
    product = KINDS["int8"](parts)
    tiny = torch.full((1, IN), torch.finfo(torch.float32).tiny / 8)
    found = product(torch.cat([torch.zeros(1, IN), tiny]))
    assert product.bias_O is not None
    assert torch.equal(found[0], product.bias_O)
    torch.testing.assert_close(found[1], product.bias_O)
